// Two clients that register, call each other, change the call from both sides and end it from either.

const { default: bundled, ...named } = Bundle;
const JsSIP = bundled ?? named;
const done = [];
const step = (text) => done.push(text);
const AUDIO = { mediaConstraints: { audio: true, video: false } };

/** The next event of this name; another one of `ends` is a failure. */
function once(emitter, name, ends = []) {
  return new Promise((resolve, reject) => {
    emitter.once(name, resolve);
    ends.filter((end) => end !== name).forEach((end) =>
      emitter.once(end, ({ cause, response }) => reject(new Error(`${end} instead of ${name}: ${cause ?? ''} ${response?.status_code ?? ''}`))));
  });
}

async function client(user) {
  const sockets = [new JsSIP.WebSocketInterface(WS)];
  const ua = new JsSIP.UA({ sockets, uri: `sip:${user}@example.net`, session_timers: false });
  const registered = once(ua, 'registered', ['registrationFailed']);
  ua.start();
  await registered;
  step(`${user} has registered with a Path`);
  return ua;
}

/** A re-INVITE of this side. */
function renegotiate(session, who) {
  return new Promise((resolve, reject) => {
    const isSent = session.renegotiate({}, () => resolve(step(`a re-INVITE of ${who} is answered`)));
    if (!isSent) reject(new Error(`${who} cannot renegotiate`));
    session.once('failed', () => reject(new Error(`the re-INVITE of ${who} failed`)));
  });
}

async function call(from, to, whoEnds) {
  const incoming = once(to, 'newRTCSession');
  const ends = ['failed', 'ended'];
  const own = from.call('sip:bob@example.net', AUDIO);
  const confirmed = once(own, 'confirmed', ends);
  const { session: theirs } = await incoming;
  const taken = once(theirs, 'confirmed', ends);
  theirs.answer(AUDIO);
  await Promise.all([confirmed, taken]);
  step('a call is up');
  await renegotiate(own, 'the caller');
  await renegotiate(theirs, 'the callee');
  const [ending, other] = whoEnds === 'caller' ? [own, theirs] : [theirs, own];
  const over = once(other, 'ended');
  ending.terminate();
  const { originator } = await over;
  if (originator !== 'remote') throw new Error(`ended by ${originator}`);
  step(`the BYE of the ${whoEnds} has arrived`);
}

async function main() {
  const [alice, bob] = [await client('alice'), await client('bob')];
  await call(alice, bob, 'callee');
  await call(alice, bob, 'caller');
}

const say = (error) => fetch('/', { method: 'POST', body: JSON.stringify({ done, error }) });
main().then(() => say(), (error) => say(`${error.message} after: ${done.join('; ')}`));
