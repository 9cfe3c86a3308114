//! Reads a view: how many servers of a group exist, and how many are healthy. Nothing here decides.

use model::{DesiredSeen, Digest, GroupName, GroupRelease, InstanceSeen, InstanceState, ServiceSpec, View};

/// Servers of one group, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Those that serve or will serve: not those that are ending.
    pub exist: u32,
    /// Healthy for the required time: to the keeper and, if the group has a route, to the balancer.
    pub healthy: u32,
    /// All, those that are ending too.
    pub all: u32,
}

impl Tally {
    /// How many healthy ones remain at worst when only `count` stay: the keeper may end healthy ones.
    pub fn worst(self, count: u32) -> u32 {
        self.healthy.saturating_sub(self.exist.saturating_sub(count))
    }
}

/// The view, and the releases that say what healthy means.
#[derive(Clone, Copy)]
pub(crate) struct Observation<'a> {
    pub seen: &'a View,
    pub spec: &'a ServiceSpec,
    pub from: Option<&'a GroupRelease>,
    pub to: Option<&'a GroupRelease>,
    /// [`model::Release::digest`] of these two. A server that runs anything else is not healthy, whatever its probe says.
    pub digests: [Option<&'a Digest>; 2],
}

impl Observation<'_> {
    pub fn tally(&self, group: &GroupName) -> Tally {
        // Servers of a group that is gone are about to end, healthy or not.
        let gone = self.seen.groups.get(group).is_some_and(|g| g.desired == DesiredSeen::Gone);
        let (healthy_for_ms, routed) = self.rule(group);
        let release = self.expected(group);
        self.count(group, |i| {
            !gone
                && is_running(i)
                && runs_release(i, release)
                && long_enough(i.healthy_ms, healthy_for_ms)
                && (!routed || self.balancer_agrees(group, i, healthy_for_ms))
        })
    }

    /// Healthy ones that are sure to stay: servers beyond the declared count are about to end, and the keeper may end healthy ones.
    pub fn sure_to_stay(&self, group: &GroupName) -> u32 {
        let tally = self.tally(group);
        match self.seen.groups.get(group).map(|g| g.desired) {
            Some(DesiredSeen::Run { count, .. }) => tally.worst(count),
            _ => tally.healthy,
        }
    }

    /// Healthy by the keeper's probe alone, for any duration.
    pub fn healthy_by_keeper(&self, group: &GroupName) -> u32 {
        let release = self.expected(group);
        self.count(group, |i| is_running(i) && runs_release(i, release) && i.healthy_ms.is_some()).healthy
    }

    /// The release that the group must run. None: this rotation does not know it.
    pub fn expected(&self, group: &GroupName) -> Option<&Digest> {
        let place = [self.from, self.to].into_iter().position(|s| s.is_some_and(|s| s.group == *group))?;
        self.digests[place]
    }

    fn rule(&self, group: &GroupName) -> (u64, bool) {
        let known = [self.from, self.to].into_iter().flatten().find(|s| s.group == *group);
        match known {
            Some(active) => (active.release.health.healthy_for_ms, active.release.route.is_some()),
            None => (self.spec.health.healthy_for_ms, self.spec.route.is_some()),
        }
    }

    /// Whether traffic reaches this group by a route.
    pub fn routed(&self, group: &GroupName) -> bool {
        self.rule(group).1
    }

    fn balancer_agrees(&self, group: &GroupName, instance: &InstanceSeen, for_ms: u64) -> bool {
        let traffic = self.seen.route.as_ref().and_then(|r| r.groups.get(group));
        let target = traffic.and_then(|t| t.targets.get(&instance.id));
        target.is_some_and(|t| !t.draining && long_enough(t.healthy_ms, for_ms))
    }

    fn count(&self, group: &GroupName, healthy: impl Fn(&InstanceSeen) -> bool) -> Tally {
        let mut tally = Tally::default();
        for instance in self.seen.groups.get(group).iter().flat_map(|g| &g.instances) {
            tally.all += 1;
            tally.exist += u32::from(matches!(instance.state, InstanceState::Starting | InstanceState::Running));
            tally.healthy += u32::from(healthy(instance));
        }
        tally
    }

    /// The weight that the data plane gives the group now.
    pub fn weight(&self, group: &GroupName) -> u32 {
        self.seen.route.as_ref().and_then(|r| r.weights.get(group)).copied().unwrap_or(0)
    }
}

fn is_running(instance: &InstanceSeen) -> bool {
    instance.state == InstanceState::Running
}

fn runs_release(instance: &InstanceSeen, release: Option<&Digest>) -> bool {
    release.is_none_or(|release| instance.release.as_ref() == Some(release))
}

fn long_enough(healthy_ms: Option<u64>, for_ms: u64) -> bool {
    healthy_ms.is_some_and(|ms| ms >= for_ms)
}

/// How many servers the provider has declared; None: the view does not show the group.
pub(crate) fn declared(seen: &View, group: &GroupName) -> Option<u32> {
    match seen.groups.get(group)?.desired {
        DesiredSeen::Run { count, .. } => Some(count),
        DesiredSeen::Unknown | DesiredSeen::Gone => Some(0),
    }
}
