//! Which number each gateway of a configuration has.

use std::sync::Arc;

use super::health::Health;
use crate::net::{GatewayId, GroupId};

/// The gateways' numbers, and how they do; part of each [`crate::snapshot::Snapshot`].
#[derive(Clone, Debug)]
pub struct Roster {
    health: Arc<Health>,
    /// By group, by place in it.
    ids: Box<[Box<[GatewayId]>]>,
    /// By number.
    places: Box<[Option<(GroupId, u8)>]>,
}

impl Roster {
    /// `ids[g][p]` is the number of the gateway at place `p` of group `g`.
    pub fn new(health: Arc<Health>, ids: Vec<Box<[GatewayId]>>) -> Self {
        let numbers = ids.iter().flat_map(|group| group.iter()).map(|id| usize::from(id.0) + 1);
        let mut places = vec![None; numbers.max().unwrap_or(0)];
        for (group, ids) in (0..).map(GroupId).zip(&ids) {
            for (place, id) in (0..).zip(ids) {
                places[usize::from(id.0)] = Some((group, place));
            }
        }
        Self { health, ids: ids.into(), places: places.into() }
    }

    /// Groups of these sizes, numbered from 0, all gateways up: where nobody watches them.
    pub fn unwatched(sizes: impl Iterator<Item = usize>) -> Self {
        let mut next = (0..).map(GatewayId);
        let ids: Vec<Box<[GatewayId]>> = sizes.map(|size| next.by_ref().take(size).collect()).collect();
        let gateways = ids.iter().map(|group| group.len()).sum();
        Self::new(Arc::new(Health::new(gateways)), ids)
    }

    /// How all gateways do.
    #[inline]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The numbers of a group's gateways, by their places.
    #[inline]
    pub fn ids(&self, group: GroupId) -> &[GatewayId] {
        self.ids.get(usize::from(group.0)).map_or(&[], |ids| ids)
    }

    /// Group and place of a gateway; `None`: this configuration does not have it.
    #[inline]
    pub fn place(&self, gateway: GatewayId) -> Option<(GroupId, usize)> {
        let (group, place) = (*self.places.get(usize::from(gateway.0))?)?;
        Some((group, usize::from(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_to_places_and_back() {
        let roster = Roster::unwatched([2, 0, 3].into_iter());
        for (group, size) in [(0, 2), (1, 0), (2, 3)].map(|(group, size)| (GroupId(group), size)) {
            assert_eq!(roster.ids(group).len(), size);
            for (place, id) in roster.ids(group).iter().enumerate() {
                assert_eq!(roster.place(*id), Some((group, place)));
            }
        }
        assert_eq!((roster.place(GatewayId(5)), roster.ids(GroupId(3)).len()), (None, 0));
        let sparse = Roster::new(Arc::new(Health::new(10)), vec![[GatewayId(7), GatewayId(2)].into()]);
        assert_eq!(sparse.place(GatewayId(2)), Some((GroupId(0), 1)));
        assert_eq!(sparse.place(GatewayId(0)), None);
    }
}
