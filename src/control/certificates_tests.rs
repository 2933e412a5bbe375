use tempfile::TempDir;

use super::*;
use crate::fib::Builder;
use crate::pki::Authority;
use crate::plan::{AskClients, PairFiles, TlsFiles};

/// A plan with a listener whose certificates stand in `folder`, as the configuration will make one.
fn plan(folder: &TempDir) -> Plan {
    let text = "[[listener]]\nname = \"a\"\nbind = \"udp:192.0.2.1\"\n[[listener]]\nname = \"b\"\nbind = \"udp:192.0.2.2\"\n";
    let loaded = crate::config::from_str("test.toml", text, &Builder::host().build());
    let plan = loaded.unwrap_or_else(|findings| panic!("{findings}")).plan;
    let path = |name| folder.path().join(name);
    let pairs = vec![PairFiles { certificate: path("a.crt"), key: path("a.key") }];
    let tls = read_tls(&TlsFiles { pairs, ca: None, clients: AskClients::Off }).expect("read");
    let mut sections = plan.sections.to_vec();
    sections[0].tls = Some(Arc::new(tls));
    Plan { sections: sections.into(), ..plan }
}

fn write(folder: &TempDir, authority: &Authority) {
    let pair = authority.issue(&["a.example"]);
    fs::write(folder.path().join("a.crt"), pair.certificate).expect("written");
    fs::write(folder.path().join("a.key"), pair.key).expect("written");
}

#[test]
fn files_are_read_again_when_they_have_changed_and_are_at_rest() {
    let (folder, authority) = (TempDir::new().expect("a folder"), Authority::new("A"));
    write(&folder, &authority);
    let plan = plan(&folder);
    let mut certificates = Certificates::default();
    // Whoever has read them at the start does not know when; once more is read.
    assert_eq!([(); 4].map(|()| certificates.look(&plan)), [false, true, false, false]);
    write(&folder, &authority);
    assert_eq!([(); 3].map(|()| certificates.look(&plan)), [false, true, false]);
    // Replaced under another name by renaming, with the same length and time.
    let (old, new) = (folder.path().join("a.crt"), folder.path().join("new"));
    fs::copy(&old, &new).expect("copied");
    let time = fs::metadata(&old).and_then(|found| found.modified()).expect("a time");
    fs::File::options().write(true).open(&new).and_then(|file| file.set_modified(time)).expect("set");
    fs::rename(&new, &old).expect("renamed");
    assert_eq!([(); 3].map(|()| certificates.look(&plan)), [false, true, false]);
    // One that is being written is left alone until it is done.
    for part in ["a", "ab", "abc"] {
        fs::write(&old, part).expect("written");
        assert!(!certificates.look(&plan));
    }
    assert!(certificates.look(&plan));
    fs::remove_file(&old).expect("removed");
    assert_eq!([(); 3].map(|()| certificates.look(&plan)), [false, true, false]);
    certificates.forget();
    assert!(certificates.look(&plan));
}

#[test]
fn without_certificates_nothing_is_read() {
    let text = "[[listener]]\nname = \"a\"\nbind = \"udp:192.0.2.1\"\n";
    let loaded = crate::config::from_str("test.toml", text, &Builder::host().build());
    let plan = loaded.unwrap_or_else(|findings| panic!("{findings}")).plan;
    let mut certificates = Certificates::default();
    assert_eq!([(); 3].map(|()| certificates.look(&plan)), [false; 3]);
    assert!(readings(&plan).is_empty());
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let (folder, authority) = (TempDir::new().expect("a folder"), Authority::new("A"));
    write(&folder, &authority);
    let plan = plan(&folder);
    let certificate = folder.path().join("a.crt");
    let used = fs::read(&certificate).expect("a certificate");
    let Renewed { plan: same, renewed, mended, failed } = renew(&plan, &HashSet::new());
    assert!(same.is_none() && renewed.is_empty() && mended.is_empty() && failed.is_empty());

    fs::write(&certificate, authority.issue(&["a.example"]).certificate).expect("written");
    let Renewed { plan: broken, renewed, mended, failed } = renew(&plan, &HashSet::new());
    assert!(broken.is_none() && renewed.is_empty() && mended.is_empty());
    assert!(failed["a"].contains("listener a") && failed["a"].contains("does not belong"), "{failed:?}");
    let failing: HashSet<Box<str>> = failed.into_keys().collect();

    // As they were: nothing is new but that they can be used.
    fs::write(&certificate, used).expect("written");
    let Renewed { plan: same, renewed, mended, failed } = renew(&plan, &failing);
    assert!(same.is_none() && renewed.is_empty() && failed.is_empty());
    assert_eq!(mended, ["the certificates of listener a can be used again: they are those in use"]);

    write(&folder, &authority);
    let Renewed { plan: new, renewed, mended, failed } = renew(&plan, &failing);
    assert!(
        failed.is_empty()
            && mended.is_empty()
            && renewed[0].contains("CN=common.example.com")
            && renewed[0].contains("until 4096-01-01"),
        "{renewed:?}"
    );
    let new = new.expect("another plan");
    assert!(new.sections[0].tls != plan.sections[0].tls && new.sections[1] == plan.sections[1]);
    let [reading] = &readings(&new)[..] else { panic!("one certificate") };
    assert_eq!((&*reading.listener, reading.not_after), ("a", 67_090_118_400));
    assert!(reading.file.ends_with("/a.crt"));
}

#[test]
fn a_reload_keeps_the_sessions_of_certificates_that_stay() {
    let (folder, authority) = (TempDir::new().expect("a folder"), Authority::new("A"));
    write(&folder, &authority);
    let old = plan(&folder);
    let is_kept = |new: &Plan| {
        let (old, kept) = (old.sections[0].tls.as_ref(), keep(&old, new));
        old.zip(kept[0].tls.as_ref()).is_some_and(|(old, kept)| Arc::ptr_eq(old, kept))
    };
    assert!(is_kept(&plan(&folder)));
    write(&folder, &authority);
    assert!(!is_kept(&plan(&folder)));
}
