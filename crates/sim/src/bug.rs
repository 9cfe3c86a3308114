//! Bugs that can be planted, in the engine or in what is below it. Each must be found, or nobody knows what the simulator sees.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Keeper and balancer take any stamp.
    NoFence,
    /// The engine does not look at stamps and times of views.
    StaleView,
    /// The old group is made smaller before customers are turned away from it.
    ShrinkBeforeShift,
    /// The way back takes for granted that the old group still has its size.
    RollbackAssumesSize,
    /// A step whose time is up counts as satisfied.
    TimeoutIsSuccess,
    /// Servers go without waiting for what is in flight to them.
    NoDrain,
    /// A soak is counted from before it began.
    SoakTooEarly,
    /// The store takes a line from a driver that has lost its lease, and without compare-and-swap.
    AppendWithoutLease,
    /// Errors while soaking are not looked at.
    ErrorsIgnored,
    /// Servers are taken away without looking whether enough healthy ones remain.
    NoGuard,
    /// Fences begin at 1 again where the journal was lost.
    FenceRestarts,
    /// Any stamp that is not older counts as a step's own, and any release under its group's name.
    TakesForeign,
    /// The release that is seen to run is not looked at.
    ReleaseUnseen,
    /// The new group's name is not looked at before it is first used.
    NameNotObserved,
    /// A step is given up in a quarter of its time.
    Impatient,
    /// Waits count by the wall clock alone.
    WallClock,
    /// A rollback to a parked release sends customers to it.
    RoutesToParked,
    /// A removal leaves the listener open.
    ListenerStaysOpen,
    /// Fences begin where an older copy of the journal says.
    BackupRepeatsFences,
}

impl Bug {
    pub const ALL: [Bug; 19] = [
        Bug::NoFence,
        Bug::StaleView,
        Bug::ShrinkBeforeShift,
        Bug::RollbackAssumesSize,
        Bug::TimeoutIsSuccess,
        Bug::NoDrain,
        Bug::SoakTooEarly,
        Bug::AppendWithoutLease,
        Bug::ErrorsIgnored,
        Bug::NoGuard,
        Bug::FenceRestarts,
        Bug::TakesForeign,
        Bug::ReleaseUnseen,
        Bug::NameNotObserved,
        Bug::Impatient,
        Bug::WallClock,
        Bug::RoutesToParked,
        Bug::ListenerStaysOpen,
        Bug::BackupRepeatsFences,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Bug::NoFence => "no-fence",
            Bug::StaleView => "stale-view",
            Bug::ShrinkBeforeShift => "shrink-before-shift",
            Bug::RollbackAssumesSize => "rollback-assumes-size",
            Bug::TimeoutIsSuccess => "timeout-is-success",
            Bug::NoDrain => "no-drain",
            Bug::SoakTooEarly => "soak-too-early",
            Bug::AppendWithoutLease => "append-without-lease",
            Bug::ErrorsIgnored => "errors-ignored",
            Bug::NoGuard => "no-guard",
            Bug::FenceRestarts => "fence-restarts",
            Bug::TakesForeign => "takes-foreign",
            Bug::ReleaseUnseen => "release-unseen",
            Bug::NameNotObserved => "name-not-observed",
            Bug::Impatient => "impatient",
            Bug::WallClock => "wall-clock",
            Bug::RoutesToParked => "routes-to-parked",
            Bug::ListenerStaysOpen => "listener-stays-open",
            Bug::BackupRepeatsFences => "backup-repeats-fences",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No bug has this name; the message lists those there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchBug(pub String);

impl fmt::Display for NoSuchBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Bug::ALL.iter().map(|b| b.name()).collect();
        write!(f, "there is no planted bug {:?}; there are: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for NoSuchBug {}

impl FromStr for Bug {
    type Err = NoSuchBug;
    fn from_str(text: &str) -> Result<Self, NoSuchBug> {
        Bug::ALL.into_iter().find(|b| b.name() == text).ok_or_else(|| NoSuchBug(text.to_string()))
    }
}
