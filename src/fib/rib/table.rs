//! One routing table of one family as it is followed: prefixes, and the lists of variants that they share.

use std::collections::HashMap;
use std::sync::Arc;

use super::Variant;
use super::compile::Compiler;
use crate::fib::table::{List, Lists, Net, Table};
use crate::fib::trie::Trie;

/// A table that changes. A million prefixes over a few gateways share a few lists of variants, so that what
/// concerns a gateway or a device is done to lists and not to prefixes.
pub(super) struct RibTable<P: Net> {
    id: u32,
    routes: Trie<P>,
    numbers: HashMap<Arc<[Variant]>, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    compiled: Lists,
    /// Numbers of lists that have to be compiled.
    fresh: Vec<u32>,
    /// The compiled lists that have several paths.
    several: usize,
    /// Prefixes whose list an event emptied.
    gone: usize,
    /// As it is in the last Fib; `None`: it has changed.
    published: Option<Arc<Table<P>>>,
}

/// A list and how many prefixes have it. One that an event emptied keeps its prefixes: they are not there for
/// whoever asks.
#[derive(Clone)]
struct Slot {
    list: Arc<[Variant]>,
    users: u32,
}

/// What becomes of a variant.
pub(super) enum Rewrite {
    Keep,
    Drop,
    Become(Variant),
}

impl<P: Net> Clone for RibTable<P> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            routes: self.routes.clone(),
            numbers: self.numbers.clone(),
            slots: self.slots.clone(),
            free: self.free.clone(),
            compiled: Arc::clone(&self.compiled),
            fresh: self.fresh.clone(),
            several: self.several,
            gone: self.gone,
            published: self.published.clone(),
        }
    }
}

impl<P: Net + Ord> RibTable<P> {
    pub fn new(id: u32) -> Self {
        Self {
            id,
            routes: Trie::new([]),
            numbers: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            compiled: Lists::default(),
            fresh: Vec::new(),
            several: 0,
            gone: 0,
            published: None,
        }
    }

    /// Takes prefixes with numbers that [`RibTable::number`] gave for each, in any order; lists of a prefix that
    /// comes more than once are joined. The table is empty before.
    pub fn load(&mut self, mut routes: Vec<(P, u32)>) {
        routes.sort_by_key(|(prefix, _)| *prefix);
        let mut joined: Vec<(P, u32)> = Vec::with_capacity(routes.len());
        for (prefix, number) in routes {
            match joined.last_mut().filter(|(last, _)| *last == prefix) {
                Some((_, last)) => {
                    let mut list = self.slots[*last as usize].list.to_vec();
                    for variant in &*self.slots[number as usize].list {
                        super::load::add(&mut list, variant.clone(), P::V4);
                    }
                    [*last, number].into_iter().for_each(|old| self.release(old));
                    super::arrange(&mut list);
                    *last = self.number(list);
                }
                None => joined.push((prefix, number)),
            }
        }
        self.routes = Trie::new(joined);
        self.published = None;
    }

    /// How many prefixes have a route.
    pub fn len(&self) -> usize {
        self.routes.len() - self.gone
    }

    /// The variants of exactly this prefix, in the kernel's order.
    pub fn list(&self, prefix: P) -> &[Variant] {
        self.routes.get(prefix).map_or(&[], |number| &self.slots[number as usize].list)
    }

    /// Gives the prefix other variants; none: it goes.
    pub fn put(&mut self, prefix: P, list: Vec<Variant>) {
        let before = if list.is_empty() {
            self.routes.remove(prefix)
        } else {
            let number = self.number(list);
            self.routes.set(prefix, number)
        };
        before.into_iter().for_each(|number| self.release(number));
        self.published = None;
    }

    /// The number of this list, for one more prefix.
    pub fn number(&mut self, list: Vec<Variant>) -> u32 {
        if let Some(&number) = self.numbers.get(&*list) {
            self.slots[number as usize].users += 1;
            return number;
        }
        let list: Arc<[Variant]> = list.into();
        let slot = Slot { list: Arc::clone(&list), users: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.numbers.insert(list, number);
        self.fresh.push(number);
        number
    }

    fn release(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.users -= 1;
        self.gone -= usize::from(slot.list.is_empty());
        if slot.users == 0 {
            let list = std::mem::take(&mut slot.list);
            self.forget(&list, number);
            self.free.push(number);
            self.fresh.push(number);
        }
    }

    /// Equal lists that became so by rewriting have numbers of their own, of which one is known.
    fn forget(&mut self, list: &Arc<[Variant]>, number: u32) {
        if self.numbers.get(list) == Some(&number) {
            self.numbers.remove(list);
        }
    }

    /// The prefixes around an address with their variants, the longest first.
    pub fn around(&self, address: P::Address) -> impl Iterator<Item = (P, &[Variant])> {
        self.routes.around(address).map(|(prefix, number)| (prefix, &*self.slots[number as usize].list))
    }

    /// Some variant is like this.
    pub fn any(&self, is: impl Fn(&Variant) -> bool) -> bool {
        self.slots.iter().any(|slot| slot.list.iter().any(&is))
    }

    /// Does the same to every variant; whether anything changed.
    pub fn rewrite(&mut self, mut each: impl FnMut(&Variant) -> Rewrite) -> bool {
        #[cfg(test)]
        REWRITES.set(REWRITES.get() + 1);
        let mut changed = false;
        for number in 0..self.slots.len() as u32 {
            let slot = &self.slots[number as usize];
            let Some(list) = rewritten(&slot.list, &mut each) else { continue };
            let (before, users) = (Arc::clone(&slot.list), slot.users);
            let list: Arc<[Variant]> = list.into();
            changed = true;
            self.forget(&before, number);
            if list.is_empty() {
                self.gone += users as usize;
            } else {
                self.numbers.entry(Arc::clone(&list)).or_insert(number);
            }
            self.slots[number as usize].list = list;
            self.fresh.push(number);
            self.published = None;
        }
        changed
    }

    /// The table as lookups want it; `all`: what lists are compiled with has changed.
    pub fn publish(&mut self, compiler: &Compiler<'_>, all: bool) -> Arc<Table<P>> {
        let numbers = std::mem::take(&mut self.fresh);
        if all {
            self.compile(compiler, 0..self.slots.len() as u32);
        } else if !numbers.is_empty() {
            self.compile(compiler, numbers);
        }
        let table = self.published.take().unwrap_or_else(|| {
            Arc::new(Table::new(self.id, self.routes.clone(), Arc::clone(&self.compiled)))
        });
        self.published = Some(Arc::clone(&table));
        table
    }

    fn compile(&mut self, compiler: &Compiler<'_>, numbers: impl IntoIterator<Item = u32>) {
        let compiled = Arc::make_mut(&mut self.compiled);
        compiled.resize(self.slots.len(), List::default());
        for number in numbers {
            let (place, slot) = (&mut compiled[number as usize], &self.slots[number as usize]);
            let list = compiler.list(&slot.list, P::V4);
            self.several -= usize::from(has_several_paths(place));
            self.several += usize::from(has_several_paths(&list));
            *place = list;
        }
        self.published = None;
    }

    /// Some route has several paths, as of the last publication.
    pub fn is_multipath(&self) -> bool {
        self.several > 0
    }

    /// Its number, and every prefix with its variants.
    pub fn routes(&self) -> impl Iterator<Item = (P, &[Variant])> {
        let slot = |number: u32| &*self.slots[number as usize].list;
        self.routes.sorted().into_iter().map(move |(prefix, number)| (prefix, slot(number)))
    }
}

/// What becomes of a list; `None`: nothing.
fn rewritten(list: &[Variant], each: &mut impl FnMut(&Variant) -> Rewrite) -> Option<Vec<Variant>> {
    let mut other: Option<Vec<Variant>> = None;
    for (at, variant) in list.iter().enumerate() {
        let fate = each(variant);
        if let (Rewrite::Keep, None) = (&fate, &other) {
            continue;
        }
        let other = other.get_or_insert_with(|| list[..at].to_vec());
        match fate {
            Rewrite::Keep => other.push(variant.clone()),
            Rewrite::Drop => {}
            Rewrite::Become(new) => other.push(new),
        }
    }
    other
}

#[cfg(test)]
thread_local! {
    /// How often a table's lists were gone through in this thread.
    pub(super) static REWRITES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn has_several_paths(list: &List) -> bool {
    list.alternatives.iter().any(|alternative| alternative.hops.len() > 1)
}
