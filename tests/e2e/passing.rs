//! A call with everything in it by any two phones, and what is held of each of its messages when it has passed Viaduct.

use crate::phone::{Phone, Taken};
use crate::sip::{Dialog, Message, parameter, response};
use crate::world::PATIENCE;

/// What Viaduct says of itself towards one end of a call.
pub struct Side {
    /// The transport, as it stands in a Via.
    pub via: &'static str,
    /// Its address or name, and port.
    pub sent_by: String,
}

/// What is said in a call: neither its empty line nor what is no ASCII ends a message.
const BODY: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=ü\r\n\r\nt=0 0\r\n";

/// A call with re-INVITEs from both ends, which the caller ends or the callee. `sides`: towards the caller and the callee.
///
/// # Errors
/// What did not come, or came otherwise than it should.
pub fn call(
    caller: &dyn Phone,
    callee: &dyn Phone,
    (near, far): (&Side, &Side),
    id: &str,
    caller_ends: bool,
) -> Result<(), String> {
    let mut invite = caller.request("INVITE", &callee.uri()).with_body("application/sdp", BODY);
    invite.set("Call-ID", id);
    caller.put(&invite);
    let received = arrives(callee, &invite, (far, near))?;
    let ringing = answer(callee, &received, "180 Ringing", "");
    // The dialog is the one that the 180 began.
    let tag = parameter(ringing.value("To"), "tag").expect("a tag");
    let ok = answer_as(callee, &received, "200 OK", BODY, Some(&tag));
    // One right behind the other, and in this order.
    comes_back(caller, &invite, &ringing)?;
    let accepted = comes_back(caller, &invite, &ok)?;
    let (mut here, mut there) = (Dialog::of_caller(&accepted), Dialog::of_callee(&received.message, &ok));
    let ack = here.request(caller, "ACK");
    caller.put(&ack);
    arrives(callee, &ack, (far, near))?;
    ask(callee, &mut there, (caller, (near, far)), "INVITE")?;
    ask(caller, &mut here, (callee, (far, near)), "INVITE")?;
    if caller_ends {
        ask(caller, &mut here, (callee, (far, near)), "BYE")
    } else {
        ask(callee, &mut there, (caller, (near, far)), "BYE")
    }
}

/// A request in the dialog, its 200, and the ACK that an INVITE has.
fn ask(
    from: &dyn Phone,
    dialog: &mut Dialog,
    (to, sides): (&dyn Phone, (&Side, &Side)),
    method: &str,
) -> Result<(), String> {
    let body = if method == "INVITE" { BODY } else { "" };
    let request = with_body(dialog.request(from, method), body);
    from.put(&request);
    let received = arrives(to, &request, sides)?;
    let ok = answer(to, &received, "200 OK", body);
    comes_back(from, &request, &ok)?;
    if method == "INVITE" {
        let mut ack = dialog.request(from, "ACK");
        ack.set("CSeq", &request.value("CSeq").replace("INVITE", "ACK"));
        from.put(&ack);
        arrives(to, &ack, sides)?;
    }
    Ok(())
}

fn with_body(message: Message, body: &str) -> Message {
    if body.is_empty() { message } else { message.with_body("application/sdp", body) }
}

fn answer(phone: &dyn Phone, request: &Taken, status: &str, body: &str) -> Message {
    answer_as(phone, request, status, body, None)
}

/// Answers with this To tag, where the request has none.
fn answer_as(phone: &dyn Phone, request: &Taken, status: &str, body: &str, tag: Option<&str>) -> Message {
    let mut answer = response(&request.message, status);
    if !answer.value("To").contains(";tag=") {
        let tag = tag.map_or_else(|| format!("to{}", crate::endpoint::serial()), str::to_owned);
        answer.set("To", &format!("{};tag={tag}", request.message.value("To")));
    }
    answer.add("Contact", &format!("<{}>", phone.uri()));
    answer.add("Content-Length", "0");
    let answer = with_body(answer, body);
    phone.give(&answer, &request.way);
    answer
}

/// The next message but 100.
fn next(phone: &dyn Phone, wanted: &Message) -> Result<Taken, String> {
    loop {
        let taken = phone.try_take(PATIENCE);
        let taken = taken.ok_or_else(|| format!("{} waits in vain for:\n{wanted}", phone.uri()))?;
        if !taken.message.start.starts_with("SIP/2.0 100") {
            return Ok(taken);
        }
    }
}

/// Takes a request that was sent: Viaduct has put its Via on top, one hop off Max-Forwards, its own Routes away, and into an
/// INVITE its Record-Route of both sides, `far` is towards who takes it, on top.
fn arrives(phone: &dyn Phone, sent: &Message, (far, near): (&Side, &Side)) -> Result<Taken, String> {
    let taken = next(phone, sent)?;
    let message = &taken.message;
    let held = Held { sent, arrived: message };
    held.same(&["From", "To", "Call-ID", "CSeq", "Contact", "Content-Type"])?;
    let vias = message.values("Via");
    let top = format!("SIP/2.0/{} {};", far.via, far.sent_by);
    held.that(vias.len() == 2, "two Vias")?;
    held.that(vias[0].starts_with(&top), &format!("the Via on top begins with {top}"))?;
    held.that(message.branch().starts_with("z9hG4bK"), "a branch of RFC 3261")?;
    held.that(as_sent(&vias[1]) == sent.values("Via")[0], "the sender's Via below")?;
    held.that(message.value("Max-Forwards") == "69", "Max-Forwards: 69")?;
    held.that(message.values("Route").is_empty(), "no Route")?;
    let recorded: &[&Side] = if sent.start.starts_with("INVITE ") { &[far, near] } else { &[] };
    let routes = message.values("Record-Route");
    held.that(routes.len() == recorded.len(), &format!("{} Record-Routes", recorded.len()))?;
    // Where neither side is anything but UDP there is nothing to be said of it.
    let is_said = [far, near].iter().any(|side| side.via != "UDP");
    for (route, Side { via, sent_by }) in routes.iter().zip(recorded) {
        let transport = if is_said { format!(";transport={}", in_uri(via)) } else { String::new() };
        let wanted = format!("@{sent_by}{transport};lr>");
        held.that(route.ends_with(&wanted), &format!("a Record-Route with {wanted}"))?;
    }
    Ok(taken)
}

/// A Via's transport as a URI has it. RFC 7118 §5.2: "This document defines the value "ws" as the transport parameter value for a
/// SIP URI", and no other one for secure connections.
fn in_uri(via: &str) -> String {
    if via == "WSS" { "ws".to_owned() } else { via.to_lowercase() }
}

/// Takes an answer that was sent to a request: Viaduct has taken its Via away, and nothing else.
fn comes_back(phone: &dyn Phone, request: &Message, sent: &Message) -> Result<Message, String> {
    let message = next(phone, sent)?.message;
    let held = Held { sent, arrived: &message };
    held.same(&["Record-Route", "From", "To", "Call-ID", "CSeq", "Contact", "Content-Type"])?;
    let vias = message.values("Via");
    held.that(vias.len() == 1 && as_sent(&vias[0]) == request.values("Via")[0], "the request's Via alone")?;
    Ok(message)
}

/// A Via without what whoever received it has added (RFC 3261 §18.2.1, RFC 3581 §4).
fn as_sent(via: &str) -> String {
    let is_added = |part: &&str| part.starts_with("received=") || part.starts_with("rport=");
    via.split(';').filter(|part| !is_added(part)).collect::<Vec<_>>().join(";")
}

/// A message before and behind Viaduct.
struct Held<'m> {
    sent: &'m Message,
    arrived: &'m Message,
}

impl Held<'_> {
    fn that(&self, is_so: bool, what: &str) -> Result<(), String> {
        let Self { sent, arrived } = self;
        let told = || format!("there should be {what}; sent:\n{sent}arrived:\n{arrived}");
        is_so.then_some(()).ok_or_else(told)
    }

    /// Start line, body and these headers are the same, and so is the body's length.
    fn same(&self, names: &[&str]) -> Result<(), String> {
        let Self { sent, arrived } = self;
        self.that(arrived.start == sent.start, "the same start line")?;
        for name in names {
            self.that(arrived.values(name) == sent.values(name), &format!("the same {name}"))?;
        }
        self.that(arrived.body == sent.body, "the same body")?;
        let length = [sent.body.len().to_string()];
        self.that(arrived.values("Content-Length") == length, "one Content-Length, that of the body")
    }
}
