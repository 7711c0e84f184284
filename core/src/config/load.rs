//! Finds the root, reads the layers, adds them up.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check::{Finding, Severity};
use super::coerce::{self, Mode};
use super::environment::{self, HostVariable, Variable};
use super::file::{self, FILE_NAME, shown_path};
use super::host::{self, HostFacts};
use super::layers::{Found, KeyPath, Layers, Origin, flatten};
use super::schema::{LeafType, Place, Schema};
use super::{Listed, Settings, dotenv, small_file};
use crate::error::{Error, ErrorKind, Result};

/// The prefix of the environment unless `service.env_prefix` says otherwise.
const PREFIX: &str = "UPLIFTED";
/// The variable that names the root, for those who can set nothing else.
const ROOT_VARIABLE: &str = "UPLIFTED_OPS_ROOT";

/// What the settings are read from.
#[derive(Clone)]
pub struct LoadInput {
    /// `--root`: the service's root folder. It wins over `service.root`.
    pub root: Option<PathBuf>,
    /// `--config`: the file to read instead of `ops.toml`.
    pub config_file: Option<PathBuf>,
    /// Whether `ops.toml` is left unread, because it is broken and will be replaced. It still marks the root.
    pub without_file: bool,
    /// Whether mistakes are collected in [`Config::mistakes`] instead of being refused: for `config.check`, which tells all of
    /// them at once.
    pub tolerant: bool,
    /// Where relative paths above start, and where the search for `ops.toml` starts.
    pub working_dir: PathBuf,
    /// The environment: names and values.
    pub environment: Vec<(String, String)>,
    /// What the code says, as a nested object: `{"backup": {"level": 5}}`. Null when it says nothing.
    pub overrides: Value,
}

impl LoadInput {
    /// Nothing but a folder to start from.
    pub fn new(working_dir: &Path) -> Self {
        Self {
            root: None,
            config_file: None,
            without_file: false,
            tolerant: false,
            working_dir: working_dir.to_owned(),
            environment: Vec::new(),
            overrides: Value::Null,
        }
    }

    fn variables(&self) -> impl Iterator<Item = Variable> {
        self.environment.iter().map(|(name, value)| Variable {
            name: name.clone(),
            value: value.clone(),
            origin: Origin::Environment { variable: name.clone() },
        })
    }

    /// This process's working folder and environment. Variables that are not Unicode are left out: none of
    /// our settings can be one.
    ///
    /// # Errors
    /// When the working folder was removed or may not be read.
    pub fn of_process() -> Result<Self> {
        let working_dir = std::env::current_dir().map_err(|error| Error::io("find the working folder", error))?;
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Ok(Self { environment: std::env::vars_os().filter_map(unicode).collect(), ..Self::new(&working_dir) })
    }
}

impl std::fmt::Debug for LoadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadInput")
            .field("root", &self.root)
            .field("config_file", &self.config_file)
            .field("without_file", &self.without_file)
            .field("working_dir", &self.working_dir)
            .field("environment", &format_args!("{} variables", self.environment.len()))
            .finish_non_exhaustive()
    }
}

/// The settings, and everything that was learnt on the way to them.
#[derive(Clone)]
pub struct Config {
    /// The merged settings. `service.name` and `service.root` are filled in.
    pub settings: Settings,
    /// The service's root folder, absolute.
    pub root: PathBuf,
    /// The state folder, absolute. It need not exist.
    pub state: PathBuf,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What the host's own settings tell.
    pub host: HostFacts,
    /// What is allowed and probably wrong.
    pub warnings: Vec<ConfigWarning>,
    /// What else would have been refused. Only where that was asked for, see [`LoadInput::tolerant`].
    pub mistakes: Vec<Finding>,
    pub(super) layers: Layers,
    pub(super) host_variables: Vec<HostVariable>,
}

/// Something that is allowed and probably wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigWarning {
    /// The setting concerned, or the host's key, or the file.
    pub key: String,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// Where it is: `.env:3 (UPLIFTED__BACKUP__LEVLE)`.
    pub source: String,
}

/// Reads and merges the settings.
///
/// The root is `input.root`; else the folder of `input.config_file`; else `UPLIFTED_OPS_ROOT`; else the
/// nearest folder at or above the working folder that has an `ops.toml`; else the working folder.
/// `service.root` moves it from there, unless `input.root` or `UPLIFTED_OPS_ROOT` named it. A missing
/// `ops.toml` and a missing `.env` are fine; a missing `input.config_file` is not.
///
/// # Errors
/// [`ErrorKind::NotFound`] for a root or a named file that does not exist; [`ErrorKind::InvalidInput`] for
/// mistakes in `ops.toml` (each with its line), in variables of ours, in the overrides, and for two
/// components of one name. No error shows a value.
pub fn load(input: &LoadInput) -> Result<Config> {
    let mut warnings = Vec::new();
    let start = Start::find(input, &mut warnings)?;
    let file = start.file.clone().filter(|_| !input.without_file);
    let mut mistakes = Vec::new();
    let from_file = match &file {
        Some(path) if input.tolerant => {
            let layer = file::read_all(path, &shown_name(path, &start.folder))?;
            mistakes.extend(layer.mistakes.into_iter().map(Finding::from));
            layer.found
        }
        Some(path) => file::read(path, &shown_name(path, &start.folder))?,
        None => Vec::new(),
    };
    let from_code = code_layer(&input.overrides)?;
    let prefix = env_prefix(&from_file, &from_code)?;
    let mut read = |variables: Vec<Variable>| -> Result<environment::Layer> {
        if !input.tolerant {
            return environment::read(variables, &prefix);
        }
        let mut layer = environment::read_all(variables, &prefix);
        mistakes.extend(layer.mistakes.drain(..).map(Finding::from));
        Ok(layer)
    };
    let from_environment = read(input.variables().collect())?;

    let said_root = [&from_code, &from_environment.found, &from_file]
        .into_iter()
        .find_map(|layer| layer.iter().find(|found| found.path == ["service", "root"] && !found.value.is_null()));
    let root = start.root(said_root, &mut warnings)?;

    let (variables, redis_url) = dotenv_variables(&root, input, &mut warnings);
    let mut from_dotenv = read(variables)?;
    refuse_in_dotenv(&mut from_dotenv.found, &mut warnings);

    let mut layers = Layers::default();
    layers.add(from_file);
    layers.add(from_dotenv.found);
    layers.add(from_environment.found);
    layers.add(from_code);
    let settings = settings_of(&layers)?;

    let host_variables: Vec<HostVariable> = from_dotenv.host.into_iter().chain(from_environment.host).collect();
    let (host, host_warnings) = host::facts(&host_variables, redis_url.as_ref());
    warnings.extend([from_dotenv.warnings, from_environment.warnings, host_warnings].into_iter().flatten());

    let state = root.join(&settings.state.path);
    let mut config = Config { state, settings, root, file, host, warnings, mistakes, layers, host_variables };
    config.fill_in();
    match config.duplicates() {
        duplicates if input.tolerant => config.mistakes.extend(duplicates),
        duplicates => duplicates.into_iter().next().map_or(Ok(()), |first| {
            let error = Error::invalid(format!("{}: {}", first.source, first.message));
            Err(error.with_hint(first.hint.unwrap_or_default()))
        })?,
    }
    Ok(config)
}

impl Config {
    /// Works out what was not said.
    fn fill_in(&mut self) {
        let service = &mut self.settings.service;
        if service.name.is_empty() {
            // Only `/` has no name.
            service.name =
                self.root.file_name().map_or_else(|| "service".to_owned(), |name| name.to_string_lossy().into_owned());
        }
        service.root = Some(self.root.clone());
        if service.log.is_none() {
            service.log = self.host.logging_file.as_ref().map(|fact| fact.value.clone());
        }
    }

    /// Names that are taken already: requests and reports tell components apart by them.
    fn duplicates(&self) -> Vec<Finding> {
        let mut first_of = HashMap::new();
        let mut found = Vec::new();
        for Listed { list, index, name, .. } in self.settings.listed() {
            let Some(first) = first_of.insert((list, name), index) else { continue };
            first_of.insert((list, name), first);
            let place = |index: usize| self.layers.origin(&[list.to_owned(), index.to_string(), "name".to_owned()]);
            found.push(Finding {
                severity: Severity::Error,
                key: format!("{list}.{index}.name"),
                message: format!("the name {name:?} of a [[{list}]] is taken already ({})", place(first)),
                hint: Some(format!("give each [[{list}]] a name of its own")),
                source: place(index).to_string(),
            });
        }
        found
    }
}

/// What the host's own settings tell about the service in `root`, without an `ops.toml`: for `init`.
pub(super) fn host_facts(root: &Path, variables: &[(String, String)]) -> Result<(HostFacts, Vec<ConfigWarning>)> {
    let input = LoadInput { environment: variables.to_vec(), ..LoadInput::new(root) };
    let mut warnings = Vec::new();
    let (from_dotenv, redis_url) = dotenv_variables(root, &input, &mut warnings);
    let from_dotenv = environment::read(from_dotenv, PREFIX)?;
    let from_environment = environment::read(input.variables(), PREFIX)?;
    let host_variables: Vec<HostVariable> = from_dotenv.host.into_iter().chain(from_environment.host).collect();
    let (host, host_warnings) = host::facts(&host_variables, redis_url.as_ref());
    warnings.extend(host_warnings);
    Ok((host, warnings))
}

impl From<file::Mistake> for Finding {
    fn from(mistake: file::Mistake) -> Self {
        let file::Mistake { key, origin, message, hint } = mistake;
        let hint = hint.or_else(|| Some("correct the value".to_owned()));
        Self { severity: Severity::Error, key, message, hint, source: origin.to_string() }
    }
}

impl From<(KeyPath, Origin, Error)> for Finding {
    fn from((path, origin, error): (KeyPath, Origin, Error)) -> Self {
        Self {
            severity: Severity::Error,
            key: path.join("."),
            message: error.message().to_owned(),
            hint: error.hint().map(str::to_owned),
            source: origin.to_string(),
        }
    }
}

/// Where the search ended.
struct Start {
    folder: PathBuf,
    file: Option<PathBuf>,
    /// Whether the caller named the folder, so that no setting moves it.
    fixed: bool,
}

impl Start {
    fn find(input: &LoadInput, warnings: &mut Vec<ConfigWarning>) -> Result<Self> {
        let absolute = |path: &Path| tidy(&input.working_dir.join(path));
        let from_variable = input
            .environment
            .iter()
            .rev()
            .find(|(name, value)| name == ROOT_VARIABLE && !value.is_empty())
            .map(|(_, value)| PathBuf::from(value));
        let config_file = input.config_file.as_deref().map(&absolute);
        let named = match (&input.root, &config_file) {
            (Some(root), _) => Some((absolute(root), true)),
            (None, Some(file)) => Some((file.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned), false)),
            (None, None) => from_variable.map(|root| (absolute(&root), true)),
        };
        let (folder, fixed) = match named {
            Some(named) => named,
            None => (search_upwards(&tidy(&input.working_dir), warnings), false),
        };
        // `--config` for a missing file is refused when it is read.
        let file = config_file.or_else(|| Some(folder.join(FILE_NAME)).filter(|file| file.symlink_metadata().is_ok()));
        Ok(Self { folder, file, fixed })
    }

    fn root(&self, said: Option<&Found>, warnings: &mut Vec<ConfigWarning>) -> Result<PathBuf> {
        let mut root = self.folder.clone();
        if let Some(found) = said {
            let said = tidy(&self.folder.join(found.value.as_str().unwrap_or_default()));
            if self.fixed && said != root {
                warnings.push(ConfigWarning {
                    key: "service.root".to_owned(),
                    message: format!("service.root is {said:?}, but the root {root:?} was named and is used"),
                    source: found.origin.to_string(),
                });
            } else {
                root = said;
            }
        }
        match root.metadata() {
            Ok(meta) if meta.is_dir() => Ok(root),
            Ok(_) => Err(Error::invalid(format!("the root {root:?} is not a folder"))
                .with_hint("name the folder that the service lives in")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::NotFound, format!("the root {root:?} does not exist"))
                    .with_hint("correct --root, or service.root in ops.toml"))
            }
            Err(error) => Err(Error::io(format!("look at the root {root:?}"), error)),
        }
    }
}

/// The nearest folder at or above `from` that has an `ops.toml`, else `from`.
///
/// The file names programs to run (`service.stop`, `worker.command`), so one that a stranger left in a
/// folder above, such as `/tmp`, is passed by: its owner must be this user, root, or the owner of `from`.
fn search_upwards(from: &Path, warnings: &mut Vec<ConfigWarning>) -> PathBuf {
    let trusted = [Some(0), Some(rustix::process::geteuid().as_raw()), from.metadata().ok().map(|meta| meta.uid())];
    for folder in from.ancestors() {
        let file = folder.join(FILE_NAME);
        let Ok(meta) = file.metadata() else { continue };
        if folder == from || trusted.contains(&Some(meta.uid())) {
            return folder.to_owned();
        }
        warnings.push(ConfigWarning {
            key: "service.root".to_owned(),
            message: format!("{file:?} belongs to another user and is not read; name it with --config to use it"),
            source: "search".to_owned(),
        });
    }
    from.to_owned()
}

/// Without `.`; a path with `..` is resolved by the filesystem, because a symlink may stand before it.
fn tidy(path: &Path) -> PathBuf {
    if path.components().any(|part| part == Component::ParentDir)
        && let Ok(resolved) = path.canonicalize()
    {
        return resolved;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.components().filter(|part| *part != Component::CurDir).collect()
}

/// The file's name in messages: short inside the folder, whole elsewhere.
fn shown_name(file: &Path, folder: &Path) -> String {
    file.strip_prefix(folder).unwrap_or(file).display().to_string()
}

/// The layer of the code: typed as strictly as the file.
fn code_layer(overrides: &Value) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    match overrides {
        Value::Null => {}
        Value::Object(fields) => code_fields(fields, &KeyPath::new(), &mut found)?,
        other => {
            return Err(Error::invalid(format!("the settings given in code are {}", coerce::found(other)))
                .with_hint("give an object of sections"));
        }
    }
    Ok(found)
}

fn code_fields(fields: &Map<String, Value>, path: &KeyPath, into: &mut Vec<Found>) -> Result<()> {
    for (name, value) in fields {
        let mut path = path.clone();
        path.push(name.clone());
        match (Schema::get().place(&path), value) {
            (Place::Section, Value::Object(inner)) => code_fields(inner, &path, into)?,
            (Place::Section, Value::Null) => {}
            (Place::Section, other) => {
                return Err(Error::invalid(format!(
                    "the setting `{}` given in code is a section, found {}",
                    path.join("."),
                    coerce::found(other)
                ))
                .with_hint(
                    "give an object, or one of the settings in it; `uplifted-ops config show` prints every key",
                ));
            }
            (Place::Leaf(leaf), value) => {
                let value = coerce::fit(leaf, value, Mode::Typed).map_err(|misfit| {
                    let inside: KeyPath = path.iter().cloned().chain(misfit.inside).collect();
                    Error::invalid(format!("the setting `{}` given in code: {}", shown_path(&inside), misfit.message))
                })?;
                if leaf.kind == LeafType::FreeTable {
                    flatten(path, &value, &Origin::Code, into);
                } else {
                    into.push(Found::new(path, value, Origin::Code));
                }
            }
            _ => {
                let error = Error::invalid(format!("unknown setting `{}` given in code", path.join(".")));
                return Err(match Schema::get().did_you_mean(&path) {
                    Some(known) => error.with_hint(format!("did you mean `{known}`?")),
                    None => error,
                });
            }
        }
    }
    Ok(())
}

fn env_prefix(from_file: &[Found], from_code: &[Found]) -> Result<String> {
    let said = from_code.iter().chain(from_file).find(|found| found.path == ["service", "env_prefix"]);
    let Some(text) = said.and_then(|found| found.value.as_str()) else { return Ok(PREFIX.to_owned()) };
    let text = text.trim_end_matches('_');
    let is_name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| text.to_owned()).ok_or_else(|| {
        Error::invalid("service.env_prefix is no beginning of a variable's name")
            .with_hint("use letters, digits and underscores, such as MYSERVICE")
    })
}

/// The variables of `.env`, and `REDIS_URL` from there or from the environment.
///
/// A `.env` that cannot be read is the service's trouble before it is ours: a warning.
fn dotenv_variables(
    root: &Path,
    input: &LoadInput,
    warnings: &mut Vec<ConfigWarning>,
) -> (Vec<Variable>, Option<Variable>) {
    let mut warn = |message: String, source: String| {
        warnings.push(ConfigWarning { key: ".env".to_owned(), message, source });
    };
    let text = match small_file::read(&root.join(".env")) {
        Ok(Some(bytes)) => String::from_utf8(bytes).unwrap_or_else(|error| {
            warn("the file is not UTF-8; what is not is replaced".to_owned(), ".env".to_owned());
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        }),
        Ok(None) => String::new(),
        Err(error) => {
            warn(format!("it is left out: {}", error.message()), ".env".to_owned());
            String::new()
        }
    };
    let in_environment = |name: &str| input.environment.iter().rev().find(|(known, _)| known == name);
    let parsed = dotenv::parse(&text, |name| in_environment(name).map(|(_, value)| value.clone()));
    for line in parsed.malformed_lines {
        warn(format!("line {line} is no KEY=VALUE and is ignored"), format!(".env:{line}"));
    }
    // A key without a value sets nothing.
    let variables: Vec<Variable> = parsed
        .entries
        .into_iter()
        .filter_map(|entry| {
            let origin = Origin::DotEnv { line: entry.line, variable: entry.key.clone() };
            Some(Variable { name: entry.key, value: entry.value?, origin })
        })
        .collect();
    let in_environment = input.variables().filter(|variable| variable.name == "REDIS_URL").last();
    let redis_url =
        in_environment.or_else(|| variables.iter().rev().find(|variable| variable.name == "REDIS_URL").cloned());
    (variables, redis_url)
}

/// `.env` is found through the root and read by the prefix, so it can set neither.
fn refuse_in_dotenv(found: &mut Vec<Found>, warnings: &mut Vec<ConfigWarning>) {
    found.retain(|found| {
        let refused = found.path == ["service", "root"] || found.path == ["service", "env_prefix"];
        if refused {
            warnings.push(ConfigWarning {
                key: found.path.join("."),
                message: format!("{} is ignored in .env; set it in ops.toml or in code", found.path.join(".")),
                source: found.origin.to_string(),
            });
        }
        !refused
    });
}

fn settings_of(layers: &Layers) -> Result<Settings> {
    serde_path_to_error::deserialize(layers.to_value()).map_err(|error| {
        // Every leaf was fitted to its type, so this is a type that the schema does not tell whole. The
        // parser's message may quote the value and stays out.
        let path: KeyPath = error.path().to_string().split('.').map(str::to_owned).collect();
        Error::invalid(format!("{}: `{}` has a value that it cannot take", layers.origin(&path), path.join(".")))
    })
}
