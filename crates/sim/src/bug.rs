//! Bugs that can be planted, in the engine or in what is below it. The simulator must find each: this shows what it can detect.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Keeper and balancer accept any stamp.
    NoFence,
    /// The engine ignores stamps and times of views.
    StaleView,
    /// The old group is scaled down before traffic is shifted off it.
    ShrinkBeforeShift,
    /// A rollback assumes that the old group still has its size.
    RollbackAssumesSize,
    /// A step that times out counts as satisfied.
    TimeoutIsSuccess,
    /// Servers are retired without waiting for the requests in flight to them.
    NoDrain,
    /// A soak is counted from before it began.
    SoakTooEarly,
    /// The store accepts a line from a driver that has lost its lease, and without compare-and-swap.
    AppendWithoutLease,
    /// Errors while soaking are ignored.
    ErrorsIgnored,
    /// Servers are removed without checking that enough healthy ones remain.
    NoGuard,
    /// Fences restart at 1 where the journal was lost.
    FenceRestarts,
    /// Any stamp that is not older counts as the step's own, and so does any release under its group's name.
    TakesForeign,
    /// The release that is observed to run is ignored.
    ReleaseUnseen,
    /// The new group's name is not observed before it is first used.
    NameNotObserved,
    /// A step is given up after a quarter of its time.
    Impatient,
    /// Waits count by the wall clock alone.
    WallClock,
    /// A rollback to a parked release routes traffic to it.
    RoutesToParked,
    /// A removal leaves the listener open.
    ListenerStaysOpen,
    /// Fences continue from those of a restored older copy of the journal.
    BackupRepeatsFences,
    /// A release whose migration succeeded is migrated again.
    MigratesTwice,
    /// The first servers of a release start before its migration.
    MigratesAfterServers,
    /// A migration whose end nobody saw counts as one that succeeded.
    LostMigrationSucceeds,
    /// What a stopped rotation left of a migration is retired last.
    MigrationsOverlap,
}

impl Bug {
    pub const ALL: [Bug; 23] = [
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
        Bug::MigratesTwice,
        Bug::MigratesAfterServers,
        Bug::LostMigrationSucceeds,
        Bug::MigrationsOverlap,
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
            Bug::MigratesTwice => "migrates-twice",
            Bug::MigratesAfterServers => "migrates-after-servers",
            Bug::LostMigrationSucceeds => "lost-migration-succeeds",
            Bug::MigrationsOverlap => "migrations-overlap",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No bug has this name; the message lists all names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchBug(pub String);

impl fmt::Display for NoSuchBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Bug::ALL.iter().map(|b| b.name()).collect();
        write!(f, "no planted bug {:?}; the names are: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for NoSuchBug {}

impl FromStr for Bug {
    type Err = NoSuchBug;
    fn from_str(text: &str) -> Result<Self, NoSuchBug> {
        Bug::ALL.into_iter().find(|b| b.name() == text).ok_or_else(|| NoSuchBug(text.to_string()))
    }
}
