//! What a restore reads from: a snapshot, whatever its layout.

use crate::backup::archive::Archive;
use crate::backup::manifest::Manifest;
use crate::backup::nodes::{ExtractOptions, Extracted, Roll, Selection};
use crate::backup::repository::snapshot::Snapshot;
use crate::cancel::Scope;
use crate::error::Result;
use crate::fs::Dir;

/// What a plan says of a source beside what its manifest does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// What to know before it is restored.
    pub warnings: Vec<String>,
    /// What of it is damaged: it is restored only when salvaging.
    pub faults: Vec<String>,
}

/// A snapshot that can be put into a folder.
pub trait Source: Send + Sync {
    /// What the snapshot says about itself.
    fn manifest(&self) -> &Manifest;

    /// Its entries, in any order.
    fn entries(&self) -> &dyn Roll;

    /// Puts what is selected beneath the empty folder `into`, by the same relative paths, with its modes,
    /// owners and times; the folders above a selected path as well. Refuses what is hostile before it writes.
    /// Syncs nothing.
    fn extract(&self, scope: &Scope, selection: &Selection, into: &Dir, options: &ExtractOptions) -> Result<Extracted>;

    /// What else is to be said of it.
    fn notes(&self) -> Notes {
        Notes::default()
    }
}

impl Source for Archive {
    fn manifest(&self) -> &Manifest {
        Archive::manifest(self)
    }

    fn entries(&self) -> &dyn Roll {
        self.roll()
    }

    fn extract(&self, scope: &Scope, selection: &Selection, into: &Dir, options: &ExtractOptions) -> Result<Extracted> {
        Archive::extract(self, scope, selection, into, options)
    }
}

impl Source for Snapshot {
    fn manifest(&self) -> &Manifest {
        Snapshot::manifest(self)
    }

    fn entries(&self) -> &dyn Roll {
        self.roll()
    }

    fn extract(&self, scope: &Scope, selection: &Selection, into: &Dir, options: &ExtractOptions) -> Result<Extracted> {
        Snapshot::extract(self, scope, selection, into, options)
    }

    fn notes(&self) -> Notes {
        Notes { warnings: Vec::new(), faults: self.faults() }
    }
}
