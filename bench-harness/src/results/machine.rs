//! What a figure has to be read with: the machine it comes from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::model::Machine;
use crate::measure::bytes_of;

/// This machine, from `/proc` and `/sys`; what they do not tell stays empty.
pub fn here() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    Machine {
        cpu: field(&cpu, "model name").unwrap_or_default().to_owned(),
        cores: cores.into_iter().map(|core| core.id).collect(),
        memory_bytes: bytes_of(&memory, "MemTotal").unwrap_or(0),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
        virtual_machine: field(&cpu, "flags")
            .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
        rustc: env!("BUILT_BY").to_owned(),
        guided: env!("BUILT_GUIDED") == "true",
        irq_time: irq_time(),
        commit: env!("BUILT_FROM").to_owned(),
    }
}

impl Machine {
    /// What the subjects that this project builds were built by, and how; earlier files have both in [`Machine::rustc`].
    pub fn built_by(&self) -> String {
        let guided = if self.guided { ", guided by a profile" } else { "" };
        format!("{}{guided}", self.rustc)
    }
}

/// The kernel keeps the time of interrupts apart from that of the threads they interrupt; `None`: it does not tell.
pub fn irq_time() -> Option<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let text = fs::read_to_string(format!("/boot/config-{}", release.trim())).ok().or_else(|| {
        let output = Command::new("zcat").arg("/proc/config.gz").output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    text.map(|text| text.lines().any(|line| line == "CONFIG_IRQ_TIME_ACCOUNTING=y"))
}

/// The value of the first `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(key, value)| (key.trim(), value.trim()))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn mitigations(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let entry = |file: fs::DirEntry| {
        let text = fs::read_to_string(file.path()).ok()?;
        Some((file.file_name().to_string_lossy().into_owned(), text.trim().to_owned()))
    };
    files.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_found_by_their_whole_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel\t\t: 1\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC"));
        assert_eq!(field(text, "model"), Some("1"));
        assert_eq!(field(text, "name"), None);
        assert_eq!(bytes_of("MemTotal:       2048 kB", "MemTotal").unwrap(), 2048 << 10);
    }

    #[test]
    fn this_machine_has_a_kernel_a_core_and_memory() {
        let machine = here();
        assert!(!machine.kernel.is_empty() && !machine.cores.is_empty());
        assert!(machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(machine.rustc.starts_with("rustc "), "{}", machine.rustc);
    }
}
