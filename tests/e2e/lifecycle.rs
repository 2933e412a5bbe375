//! Starting, reading the configuration again, stopping.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use crate::sip::Dialog;
use crate::sipp::{self, End};
use crate::viaduct::{Home, LISTENERS, RELAY};
use crate::world::{World, eventually};

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn a_good_reload_takes_effect_at_once() {
    let world = World::new();
    let home = Home::new(LISTENERS);
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    caller.receive_response(403);

    // A rule more and a listener more.
    home.write(&format!("{LISTENERS}{RELAY}\n[[listener]]\nname = \"late\"\nbind = \"udp:1.2.3.4:5090\"\n"));
    let generation = viaduct.generation();
    viaduct.signal(Signal::SIGHUP);
    viaduct.newer_than(generation);
    eventually("the new listener is open", || {
        let metrics = viaduct.metrics();
        (metrics.sum("viaduct_listener_sockets", &[("listener", "late")])
            >= metrics.sum("viaduct_shards", &[]))
        .then_some(())
    });
    assert_eq!(viaduct.metrics().sum("viaduct_reloads_total", &[]), 1);
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5090"));
    let invite = callee.receive_request("INVITE");
    callee.answer(&invite, "200 OK");
    assert_eq!(caller.receive_response(200).from, socket("1.2.3.4:5090"));
    viaduct.stop();
}

#[test]
fn a_bad_reload_changes_nothing_and_says_why() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    home.write(&format!("{LISTENERS}{RELAY}egress = \"nowhere\"\n"));
    viaduct.signal(Signal::SIGHUP);
    eventually("the reload is refused", || {
        (viaduct.metrics().sum("viaduct_reloads_failed_total", &[]) == 1).then_some(())
    });
    assert!(viaduct.log().contains("nowhere"), "{}", viaduct.log());
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    callee.receive_request("INVITE");
    assert_eq!(viaduct.metrics().sum("viaduct_reloads_total", &[]), 0);
    viaduct.stop();
}

#[test]
fn a_dialog_outlives_the_rule_that_let_it_in() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    let invite = callee.receive_request("INVITE");
    let answer = callee.answer(&invite, "200 OK");
    caller.receive_response(200);

    home.write(LISTENERS);
    let generation = viaduct.generation();
    viaduct.signal(Signal::SIGHUP);
    viaduct.newer_than(generation);
    let mut dialog = Dialog::of_callee(&invite.message, &answer);
    dialog.send(&callee, "BYE");
    assert_eq!(caller.receive_request("BYE").from, socket("1.2.3.4:5060"));
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    caller.receive_response(403);
    viaduct.stop();
}

#[test]
fn calls_do_not_notice_reloads() {
    const LATE: &str = "[[listener]]\nname = \"late\"\nbind = \"udp:1.2.3.4:5090\"\n";
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let public = End { host: &world.public, address: "1.2.3.100" };
    let private = End { host: &world.private, address: "10.0.0.100" };
    let mut reloads = 0;
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| sipp::calls("call", 200, &public, "1.2.3.4", &private));
        while !calls.is_finished() {
            // A listener and a rule come and go.
            let rule = "[[route]]\nname = \"never\"\nwhen = { ruri_user = '^never$' }\nreject = 486\n";
            let more = if reloads % 2 == 0 { format!("{LATE}{rule}") } else { String::new() };
            home.write(&format!("{LISTENERS}{more}{RELAY}"));
            viaduct.signal(Signal::SIGHUP);
            reloads += 1;
            eventually("the reload is done", || {
                (viaduct.metrics().sum("viaduct_reloads_total", &[]) == reloads).then_some(())
            });
        }
    });
    assert!(reloads > 5, "{reloads} reloads while calls ran");
    let metrics = viaduct.accounted(200 * 6);
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0);
    assert_eq!(metrics.sum("viaduct_answers_total", &[]), 0);
    viaduct.stop();
}

#[test]
fn a_dialog_goes_on_where_its_listener_was_removed() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    let invite = callee.receive_request("INVITE");
    callee.answer(&invite, "200 OK");
    let mut dialog = Dialog::of_caller(&caller.receive_response(200).message);

    let moved = LISTENERS
        .replace("name = \"private\"", "name = \"inside\"")
        .replace("10.0.0.4:5060", "10.0.0.4:5070");
    home.write(&format!("{moved}{RELAY}"));
    let generation = viaduct.generation();
    viaduct.signal(Signal::SIGHUP);
    viaduct.newer_than(generation);
    dialog.send(&caller, "BYE");
    let bye = callee.receive_request("BYE");
    assert_eq!(bye.from, socket("10.0.0.4:5070"), "by the automatic choice");
    assert!(bye.message.values("Route").is_empty(), "{}", bye.message);
    callee.answer(&bye, "200 OK");
    caller.receive_response(200);
    viaduct.stop();
}

#[test]
fn one_stop_that_is_signalled_twice_is_one() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    // As a terminal and a service manager do: one to the process, one to its group.
    viaduct.signal(Signal::SIGINT);
    viaduct.stop();
}

#[test]
fn sigterm_ends_it_well_and_a_second_process_may_be_bound_already() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}").replace("9060", "9061"));
    let next = Home::new(&format!("{LISTENERS}{RELAY}"));
    let old = home.spawn(&world);
    let new = next.start(&world);
    old.stop();
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    for _ in 0..20 {
        caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
        callee.receive_request("INVITE");
    }
    new.stop();
}

#[test]
fn without_a_file_it_relays_from_private_networks_only() {
    let world = World::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_viaduct"));
    command.arg("run").stdin(std::process::Stdio::null());
    let folder = tempfile::tempdir().expect("a folder");
    let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
    command.current_dir(folder.path());
    command.stdout(log.try_clone().expect("a second handle")).stderr(log);
    let program = world.spawn(&mut command);
    eventually("Viaduct is ready", || {
        let metrics = crate::metrics::Metrics::scrape(&world)?;
        let shards = metrics.sum("viaduct_shards", &[]);
        (shards > 0 && metrics.least("viaduct_listener_sockets")? >= shards).then_some(())
    });
    let public = world.public.party("public", "1.2.3.100:5060");
    let private = world.private.party("private", "10.0.0.100:5060");
    private.send(&private.request("INVITE", &public.uri()), socket("10.0.0.4:5060"));
    assert_eq!(public.receive_request("INVITE").from, socket("1.2.3.4:5060"));
    public.send(&public.request("INVITE", &private.uri()), socket("1.2.3.4:5060"));
    public.receive_response(403);
    drop(program);
}
