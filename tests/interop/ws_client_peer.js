// The `ws` package of Node as a client, driven by JSON lines as `websockets_peer.py` is:
// `node ws_client_peer.js URL`, with `ws` on NODE_PATH.
'use strict';

const readline = require('node:readline');
const WebSocket = require('ws');

const LIFE = 120; // seconds after which the process ends whatever happens
setTimeout(() => process.exit(1), LIFE * 1000).unref();

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');

const socket = new WebSocket(process.argv[2], { headers: { 'x-token': 's3cret' } });
socket.on('open', () => {
  say({ open: socket.protocol || null });
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (text) => {
    const order = JSON.parse(text);
    if ('send' in order) socket.send(order.send, { binary: order.binary });
    else if ('close' in order) socket.close(order.close);
    else if ('abort' in order) socket.terminate();
  });
  lines.on('close', () => socket.close());
});
socket.on('message', (data, binary) => say({ got: data.toString(), binary }));
socket.on('error', (error) => say({ error: error.message }));
socket.on('close', (code, reason) => {
  say({ closed: code, reason: reason.toString() });
  process.exit(0);
});
