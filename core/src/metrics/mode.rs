//! What a gauge shows where several processes have it.

/// What a gauge shows where several processes of a service have it. Where one process has it alone, all are the same.
///
/// The `Live…` modes forget what a process had when it ends, however it ends; the others keep it. A gauge that a process has
/// registered and never set counts as 0 there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GaugeMode {
    /// The sum over the processes that live: connections, requests in progress, queue lengths.
    #[default]
    LiveSum,
    /// The largest of the processes that live.
    LiveMax,
    /// The smallest of the processes that live.
    LiveMin,
    /// What was set last by a process that lives.
    LiveMostRecent,
    /// The sum over all processes that there have been.
    Sum,
    /// The largest that any process left or has.
    Max,
    /// The smallest that any process left or has.
    Min,
    /// What was set last by any process: a time, a verdict, a version.
    MostRecent,
}

impl GaugeMode {
    /// The mode that prometheus_client calls `livesum`, `max`, `mostrecent` and so on. Its `all` and `liveall`, a series for
    /// each process, are sums here.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "livesum" | "liveall" => Self::LiveSum,
            "livemax" => Self::LiveMax,
            "livemin" => Self::LiveMin,
            "livemostrecent" => Self::LiveMostRecent,
            "sum" | "all" => Self::Sum,
            "max" => Self::Max,
            "min" => Self::Min,
            "mostrecent" => Self::MostRecent,
            _ => return None,
        })
    }

    const ALL: [Self; 8] = [
        Self::LiveSum,
        Self::LiveMax,
        Self::LiveMin,
        Self::LiveMostRecent,
        Self::Sum,
        Self::Max,
        Self::Min,
        Self::MostRecent,
    ];

    /// Whether the value of a process ends with it.
    pub fn is_live(self) -> bool {
        matches!(self, Self::LiveSum | Self::LiveMax | Self::LiveMin | Self::LiveMostRecent)
    }

    /// Whether it matters when a gauge was set.
    pub fn is_most_recent(self) -> bool {
        matches!(self, Self::LiveMostRecent | Self::MostRecent)
    }

    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What two processes show together; each is a value and when it was set.
    pub(super) fn together(self, (a, a_set): (f64, u64), (b, b_set): (f64, u64)) -> (f64, u64) {
        let value = match self {
            Self::LiveSum | Self::Sum => a + b,
            // What is not known is passed over.
            Self::LiveMax | Self::Max => a.max(b),
            Self::LiveMin | Self::Min => a.min(b),
            Self::LiveMostRecent | Self::MostRecent if b_set > a_set => b,
            Self::LiveMostRecent | Self::MostRecent => a,
        };
        (value, a_set.max(b_set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_fixed() {
        for (number, mode) in GaugeMode::ALL.into_iter().enumerate() {
            assert_eq!((usize::from(mode.number()), GaugeMode::of_number(number as u8)), (number, Some(mode)));
        }
        assert_eq!(GaugeMode::of_number(8), None);
    }

    #[test]
    fn values_come_together_by_their_mode() {
        for (mode, expected) in
            [(GaugeMode::LiveSum, 7.0), (GaugeMode::Max, 5.0), (GaugeMode::LiveMin, 2.0), (GaugeMode::MostRecent, 2.0)]
        {
            assert_eq!(mode.together((5.0, 1), (2.0, 9)), (expected, 9), "{mode:?}");
            assert_eq!(mode.together((2.0, 9), (5.0, 1)), (expected, 9), "{mode:?}");
        }
        assert_eq!(GaugeMode::Max.together((f64::NAN, 0), (1.0, 0)).0, 1.0);
    }
}
