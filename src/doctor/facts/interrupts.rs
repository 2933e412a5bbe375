//! Interrupts and the cores that handle them.

use super::links::LinkFacts;
use super::{Root, Told, Untold};

/// One numbered interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// What it is for, as `/proc/interrupts` says.
    pub name: String,
    /// How often it came, on all cores.
    pub count: u64,
    /// The cores that may handle it, as they are in effect.
    pub cores: Told<Vec<usize>>,
}

pub(super) fn read(root: &Root) -> Told<Vec<Interrupt>> {
    let text = root.read("proc/interrupts")?;
    let mut lines = text.lines();
    let columns = lines.next().map_or(0, |head| head.split_whitespace().count());
    if columns == 0 {
        return Err(Untold::new("/proc/interrupts is empty"));
    }
    Ok(lines.filter_map(|line| one(root, line, columns)).collect())
}

fn one(root: &Root, line: &str, columns: usize) -> Option<Interrupt> {
    let (number, rest) = line.trim_start().split_once(':')?;
    let number: u32 = number.parse().ok()?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let counts = words.iter().take(columns).map_while(|word| word.parse::<u64>().ok());
    let folder = format!("proc/irq/{number}");
    // Empty where nothing is in effect yet: then what is allowed counts.
    let effective = root.cores(&format!("{folder}/effective_affinity_list")).ok().filter(|c| !c.is_empty());
    Some(Interrupt {
        number,
        name: words.get(columns..).unwrap_or_default().join(" "),
        count: counts.sum(),
        cores: effective.map_or_else(|| root.cores(&format!("{folder}/smp_affinity_list")), Ok),
    })
}

/// Those of an interface's device that have come at least once: by the numbers that its bus gave it, else by name.
pub fn of_device<'a>(all: &'a [Interrupt], link: &LinkFacts) -> Vec<&'a Interrupt> {
    let of_name = |interrupt: &Interrupt| {
        let mut words = interrupt.name.split([' ', '-', '@', ',']);
        words.any(|word| word == link.name || Some(word) == link.device.as_deref())
    };
    let ours = |interrupt: &&Interrupt| {
        let numbered = link.interrupts.contains(&interrupt.number);
        interrupt.count > 0 && if link.interrupts.is_empty() { of_name(interrupt) } else { numbered }
    };
    all.iter().filter(ours).collect()
}
