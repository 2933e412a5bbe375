// The hosts around Viaduct in one process: a registrar over UDP that also leads calls to who has registered, and a web server that
// gives the page to Chromium and waits for its verdict.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const WORK = process.argv[2];
const HERE = import.meta.dirname;
const [WS, UDP, REGISTRAR, WEB] = [18080, 15060, 15070, 18000];
const PATIENCE_MS = 90_000;

const CONFIGURATION = `
[engine]
cores = [0, 1]

[admin]
listen = "off"

[[listener]]
name = "browsers"
bind = "ws:127.0.0.1:${WS}"

[[listener]]
name = "core"
bind = "udp:127.0.0.1:${UDP}"

[[route]]
name = "from-browsers"
when = { transport = ["ws"] }
to = "sip:127.0.0.1:${REGISTRAR}"

[[route]]
name = "to-browsers"
when = { transport = ["udp"], source = ["127.0.0.1"] }
to = "request-uri"
`;

/** Start line, header lines and body of a message. */
function read(bytes) {
  const [head, ...body] = bytes.toString('latin1').split('\r\n\r\n');
  const [start, ...lines] = head.split('\r\n');
  return { start, lines, body: body.join('\r\n\r\n') };
}

const values = ({ lines }, name) =>
  lines.filter((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`)).map((line) => line.slice(name.length + 1).trim());
const written = ({ start, lines, body }) => Buffer.from(`${[start, ...lines].join('\r\n')}\r\n\r\n${body}`, 'latin1');
const user = (text) => /sips?:([^@;>]+)@/.exec(text)?.[1];

/** A registrar, and a stateless proxy to who has registered (RFC 3261 §16.11, RFC 3327 §5.4). */
function registrar() {
  const socket = createSocket('udp4');
  const known = new Map();
  const via = (branch) => `Via: SIP/2.0/UDP 127.0.0.1:${REGISTRAR};branch=z9hG4bK${branch}`;
  const answer = (request, status, more = []) => {
    const copied = ['Via', 'From', 'To', 'Call-ID', 'CSeq'].flatMap((name) =>
      values(request, name).map((value) => `${name}: ${value}${name === 'To' && !value.includes(';tag=') ? ';tag=registrar' : ''}`));
    return written({ start: `SIP/2.0 ${status}`, lines: [...copied, ...more, 'Content-Length: 0'], body: '' });
  };
  const register = (request) => {
    const [path] = values(request, 'Path');
    const [contact] = values(request, 'Contact');
    if (!path) return answer(request, '421 Extension Required');
    known.set(user(values(request, 'To')[0]), { path, uri: /<([^>]+)>/.exec(contact)[1] });
    return answer(request, '200 OK', [`Path: ${path}`, `Contact: ${contact};expires=600`]);
  };
  const forward = (request) => {
    const [method, uri] = request.start.split(' ');
    const target = known.get(user(uri));
    if (!target) return method === 'ACK' ? null : answer(request, '404 Not Found');
    const branch = createHash('sha256').update(values(request, 'Via')[0]).digest('hex').slice(0, 24);
    const rest = request.lines.filter((line) => !/^route:/i.test(line));
    return written({ ...request, start: `${method} ${target.uri} SIP/2.0`, lines: [via(branch), `Route: ${target.path}`, ...rest] });
  };
  const back = (response) => {
    const own = response.lines.findIndex((line) => /^via:/i.test(line));
    return written({ ...response, lines: response.lines.filter((_, place) => place !== own) });
  };
  socket.on('message', (bytes, from) => {
    const message = read(bytes);
    const { start } = message;
    const out = start.startsWith('SIP/2.0 ') ? back(message) : start.startsWith('REGISTER ') ? register(message) : forward(message);
    if (out) socket.send(out, from.port, from.address);
  });
  socket.bind(REGISTRAR, '127.0.0.1');
  return socket;
}

/** The page, and what it says in the end. */
function web(verdict) {
  const page = `<!doctype html><script src="jssip.js"></script><script>const WS = "ws://127.0.0.1:${WS}"</script><script src="page.js"></script>`;
  return createServer((request, response) => {
    if (request.method === 'POST') {
      const parts = [];
      request.on('data', (part) => parts.push(part)).on('end', () => {
        response.end();
        verdict(JSON.parse(Buffer.concat(parts).toString()));
      });
      return;
    }
    const files = { '/jssip.js': join(WORK, 'jssip.js'), '/page.js': join(HERE, 'page.js') };
    const script = files[request.url];
    response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
    response.end(script ? readFileSync(script) : page);
  }).listen(WEB, '127.0.0.1');
}

const folder = mkdtempSync(join(tmpdir(), 'viaduct-browser-'));
const file = join(folder, 'viaduct.toml');
writeFileSync(file, CONFIGURATION);
const children = [];
const start = (program, words) => {
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  child.log = '';
  for (const pipe of [child.stdout, child.stderr]) pipe.on('data', (text) => (child.log += text));
  child.on('error', (error) => finish({ done: [], error: `${program}: ${error.message}` }));
  children.push(child);
  return child;
};

let isOver = false;
function finish({ done, error }) {
  if (isOver) return;
  isOver = true;
  done.forEach((step) => console.log(`ok   ${step}`));
  if (error) {
    console.log(`FAIL ${error}`);
    children.forEach((child) => console.log(child.log.slice(-4_000)));
  }
  children.forEach((child) => child.kill());
  setTimeout(() => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(error ? 1 : 0);
  }, 1_000);
}

registrar();
web(finish);
start(process.env.VIADUCT, ['run', '-c', file]);
start('chromium', [
  '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', `--user-data-dir=${join(folder, 'chromium')}`,
  '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--autoplay-policy=no-user-gesture-required',
  '--disable-features=WebRtcHideLocalIpsWithMdns', `http://127.0.0.1:${WEB}/`,
]);
setTimeout(() => finish({ done: [], error: 'no verdict in time' }), PATIENCE_MS);
