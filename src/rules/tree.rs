//! Which rules to look at: a tree whose branches ask one thing each.
//!
//! A rule hangs by the one of its conditions that the fewest others share: by a host, a network, a number
//! prefix, the beginning of a pattern. A request is led to the few rules that hang by what it shows; their
//! other conditions are checked one after the other. Where many hang by the same, the tree branches again.
//! So the cost goes with what the request shows, not with how many rules there are.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::checks::{Asks, Check, Checks, Numbers};
use super::gate::{BITS, Behind, Gate};
use super::seen::Seen;
use super::trie::NONE;
use super::{Facts, Shown};

/// So many rules are looked at one by one rather than told apart by another branch.
const FEW: usize = 4;
/// A condition that so few rules share is good enough to hang a rule by.
const SHARED_BY_FEW: usize = 8;
/// Most places that a rule hangs in: it hangs in one for each value of the conditions that it hangs by.
pub(super) const MOST_PLACES: usize = 64;
/// Deepest branching.
const DEPTH: usize = 6;

pub(super) struct Tree {
    /// The root is the first.
    nodes: Vec<Node>,
    /// Before the root's branches.
    gate: Gate,
    /// The rule of a request that no branch opens for, or [`NONE`]; `None`: that takes a look at the root's own rules.
    otherwise: Option<u32>,
    leaves: Vec<Leaf>,
    checks: Vec<Check>,
}

#[derive(Default)]
struct Node {
    /// The first rule in it or below.
    first: u32,
    /// Rules to look at, in order.
    leaves: Range<u32>,
    branches: Vec<Branch>,
}

struct Leaf {
    rule: u32,
    /// What is left to check of it.
    checks: Range<u32>,
}

struct Branch {
    asks: Asks,
    /// The first rule below.
    first: u32,
    /// Some patterns of it take the automaton.
    scan: bool,
    children: Children,
}

/// Where each value leads.
enum Children {
    /// By value; [`NONE`]: nowhere.
    Table(Box<[u32]>),
    /// Value and node, sorted.
    Pairs(Box<[(u32, u32)]>),
}

impl Children {
    /// The values that lead anywhere.
    fn values(&self) -> HashSet<u32> {
        match self {
            Self::Table(table) => {
                (0..).zip(table).filter(|(_, node)| **node != NONE).map(|(value, _)| value).collect()
            }
            Self::Pairs(pairs) => pairs.iter().map(|(value, _)| *value).collect(),
        }
    }
}

/// A rule with the checks that no branch above it has made.
#[derive(Clone)]
struct Draft {
    rule: u32,
    checks: Vec<Check>,
    /// In how many places the rule hangs by the checks that have been made.
    places: usize,
}

impl Draft {
    /// The checks that the rule may hang by and not hang in too many places, with their own places.
    fn usable(&self) -> impl Iterator<Item = (usize, &Check)> {
        let fits = |check: &Check| self.places * check.values.len() <= MOST_PLACES;
        self.checks.iter().enumerate().filter(move |(_, check)| check.asks != Asks::Not && fits(check))
    }
}

impl Tree {
    /// Of the rules' checks, rule by rule.
    pub fn new(rules: Vec<Vec<Check>>, checks: &Checks, numbers: &Numbers) -> Self {
        let root = vec![Node::default()];
        let (gate, otherwise) = (Gate::default(), None);
        let mut this = Self { nodes: root, gate, otherwise, leaves: Vec::new(), checks: Vec::new() };
        let drafts = (0..).zip(rules).map(|(rule, checks)| Draft { rule, checks, places: 1 }).collect();
        this.grow(0, drafts, DEPTH, checks, numbers);
        let root = &this.nodes[0];
        let values: Vec<_> = root.branches.iter().map(|branch| branch.children.values()).collect();
        let behind = root.branches.iter().zip(&values);
        let behind = behind.map(|(&Branch { asks, scan, .. }, values)| Behind { asks, scan, values });
        this.gate = Gate::new(behind, numbers);
        this.otherwise = this.otherwise();
        this
    }

    fn otherwise(&self) -> Option<u32> {
        let root = &self.nodes[0];
        if root.branches.len() > BITS {
            return None;
        }
        match self.leaves.get(root.leaves.start as usize..root.leaves.end as usize)?.first() {
            Some(leaf) => leaf.checks.is_empty().then_some(leaf.rule),
            None => Some(NONE),
        }
    }

    /// The first rule whose checks hold, or none, where filters tell; `None`: [`Tree::first_match`] does.
    #[inline(always)]
    pub fn glance(&self, shown: &impl Shown) -> Option<Option<u32>> {
        match (self.gate.glance(shown), self.otherwise) {
            (Some(0), Some(rule)) => Some((rule != NONE).then_some(rule)),
            _ => None,
        }
    }

    /// The first rule whose checks hold. `seen` is what the request shows.
    pub fn first_match<'a>(&'a self, facts: &Facts<'_>, seen: &mut Seen<'a>) -> Option<u32> {
        let best = self.best(self.gate.open(facts), seen);
        (best != NONE).then_some(best)
    }

    /// The first rule whose checks hold, or [`NONE`]; only open branches lead to some.
    fn best<'a>(&'a self, mut open: u64, seen: &mut Seen<'a>) -> u32 {
        let best = Cell::new(NONE);
        let root = &self.nodes[0];
        self.look(root, seen, &best);
        while let Some(branch) = root.branches.get(open.trailing_zeros() as usize)
            && open != 0
        {
            self.follow(branch, seen, &best);
            open &= open - 1;
        }
        for branch in root.branches.get(BITS..).unwrap_or_default() {
            self.follow(branch, seen, &best);
        }
        best.get()
    }

    /// In how many places rules hang, all together.
    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.leaves.len()
    }

    fn search<'a>(&'a self, node: u32, seen: &mut Seen<'a>, best: &Cell<u32>) {
        let node = &self.nodes[node as usize];
        self.look(node, seen, best);
        for branch in &node.branches {
            self.follow(branch, seen, best);
        }
    }

    /// At a node's own rules.
    #[inline]
    fn look<'a>(&'a self, node: &Node, seen: &mut Seen<'a>, best: &Cell<u32>) {
        for leaf in &self.leaves[node.leaves.start as usize..node.leaves.end as usize] {
            if leaf.rule >= best.get() {
                break;
            }
            let checks = &self.checks[leaf.checks.start as usize..leaf.checks.end as usize];
            if checks.is_empty() || seen.holds(checks) {
                best.set(leaf.rule);
                break;
            }
        }
    }

    /// Searches where the request leads on a branch.
    fn follow<'a>(&'a self, branch: &'a Branch, seen: &mut Seen<'a>, best: &Cell<u32>) {
        if branch.first >= best.get() {
            return;
        }
        if let Asks::Pattern(field) = branch.asks {
            let wanted = |pattern| self.child(branch, pattern, best) != NONE;
            seen.each_pattern(field, branch.scan, &wanted, &mut |seen, pattern| {
                self.search(self.child(branch, pattern, best), seen, best);
            });
            return;
        }
        let mut value = seen.first(branch.asks);
        while value != NONE {
            let child = self.child(branch, value, best);
            if child != NONE {
                self.search(child, seen, best);
            }
            value = seen.wider(branch.asks, value);
        }
    }

    /// Where a value leads, if there are rules before the best so far; else [`NONE`].
    #[inline]
    fn child(&self, branch: &Branch, value: u32, best: &Cell<u32>) -> u32 {
        let child = match &branch.children {
            Children::Table(table) => table.get(value as usize).copied().unwrap_or(NONE),
            Children::Pairs(pairs) => {
                pairs.binary_search_by_key(&value, |pair| pair.0).map_or(NONE, |at| pairs[at].1)
            }
        };
        match self.nodes.get(child as usize) {
            Some(node) if node.first < best.get() => child,
            _ => NONE,
        }
    }

    /// Fills a node with drafts, which are in the order of their rules.
    fn grow(&mut self, node: u32, drafts: Vec<Draft>, depth: usize, checks: &Checks, numbers: &Numbers) {
        let first = drafts.first().map_or(NONE, |draft| draft.rule);
        let is_filtered =
            |check: &Check| depth == DEPTH && Gate::tells(check.asks, checks.values(check), numbers);
        let hangs_by = match drafts.len() > FEW && depth > 0 {
            true => choose(&drafts, checks, is_filtered),
            false => vec![None; drafts.len()],
        };
        let begin = self.leaves.len() as u32;
        let mut below: HashMap<Asks, HashMap<u32, Vec<Draft>>> = HashMap::new();
        for (mut draft, hangs_by) in drafts.into_iter().zip(hangs_by) {
            let Some(at) = hangs_by else {
                self.leaf(draft);
                continue;
            };
            let check = draft.checks.remove(at);
            draft.places *= check.values.len();
            let branch = below.entry(check.asks).or_default();
            for &value in checks.values(&check) {
                branch.entry(value).or_default().push(draft.clone());
            }
        }
        let leaves = begin..self.leaves.len() as u32;
        let mut below: Vec<_> = below.into_iter().collect();
        below.sort_by_key(|(asks, _)| *asks);
        let branches =
            below.into_iter().map(|(asks, values)| self.branch(asks, values, depth, checks, numbers));
        let branches = branches.collect();
        self.nodes[node as usize] = Node { first, leaves, branches };
    }

    fn leaf(&mut self, draft: Draft) {
        let begin = self.checks.len() as u32;
        self.checks.extend(draft.checks);
        self.leaves.push(Leaf { rule: draft.rule, checks: begin..self.checks.len() as u32 });
    }

    fn branch(
        &mut self,
        asks: Asks,
        values: HashMap<u32, Vec<Draft>>,
        depth: usize,
        checks: &Checks,
        numbers: &Numbers,
    ) -> Branch {
        let patterns =
            if let Asks::Pattern(field) = asks { numbers.patterns.get(usize::from(field)) } else { None };
        let scan =
            patterns.is_some_and(|patterns| values.keys().any(|&pattern| patterns.needs_scan(pattern)));
        let first = values.values().flatten().map(|draft| draft.rule).min().unwrap_or(NONE);
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(values.len());
        for (value, drafts) in values {
            let node = self.nodes.len() as u32;
            self.nodes.push(Node::default());
            self.grow(node, drafts, depth - 1, checks, numbers);
            pairs.push((value, node));
        }
        pairs.sort_unstable();
        let end = pairs.last().map_or(0, |pair| pair.0 as usize + 1);
        let children = if end <= 8 * pairs.len() {
            let mut table = vec![NONE; end].into_boxed_slice();
            pairs.iter().for_each(|&(value, node)| table[value as usize] = node);
            Children::Table(table)
        } else {
            Children::Pairs(pairs.into())
        };
        Branch { asks, first, scan, children }
    }
}

/// By which of its checks each draft is to hang; `None`: by none. `is_filtered`: most requests are told from it before the
/// tree is looked at.
fn choose(drafts: &[Draft], checks: &Checks, is_filtered: impl Fn(&Check) -> bool) -> Vec<Option<usize>> {
    let mut shared: HashMap<(Asks, u32), usize> = HashMap::new();
    for (_, check) in drafts.iter().flat_map(Draft::usable) {
        for &value in checks.values(check) {
            *shared.entry((check.asks, value)).or_default() += 1;
        }
    }
    let load = |check: &Check| {
        let shares = checks.values(check).iter().map(|&value| shared.get(&(check.asks, value)));
        shares.flatten().copied().max().unwrap_or(usize::MAX)
    };
    let good: Vec<Vec<usize>> = drafts
        .iter()
        .map(|draft| {
            let loads: Vec<(usize, usize)> = draft.usable().map(|(at, check)| (at, load(check))).collect();
            let least = loads.iter().map(|(_, load)| *load).min().unwrap_or(usize::MAX);
            // What most rules share tells nothing.
            let bound = if least > drafts.len() / 2 { 0 } else { least.max(SHARED_BY_FEW) };
            loads.into_iter().filter(|(_, load)| *load <= bound).map(|(at, _)| at).collect()
        })
        .collect();
    // Each thing that is asked costs every request: ask nothing that is not needed.
    let only = drafts.iter().zip(&good).filter(|(_, good)| good.len() == 1);
    let needed: HashSet<Asks> = only.map(|(draft, good)| draft.checks[good[0]].asks).collect();
    let best = |(draft, good): (&Draft, &Vec<usize>)| {
        good.iter().copied().min_by_key(|&at| {
            let check = &draft.checks[at];
            (!is_filtered(check), !needed.contains(&check.asks), check.asks)
        })
    };
    drafts.iter().zip(&good).map(best).collect()
}
