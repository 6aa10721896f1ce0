// A client of the native dialect in Node, written from docs/wire.md alone, and what it does with a server:
// `node native_client_peer.js URL TOKEN HEARTBEAT`, with `ws` on NODE_PATH.  It says in JSON lines what it has seen.
'use strict';
const crypto = require('node:crypto');
const WebSocket = require('ws');

const [HELLO, CREDIT, MESSAGES, ENVELOPE, UNIT, ABANDON, CANCEL, PING, PONG, GOODBYE, HOLD] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const [DATA, SYSTEM, REPLY] = [0, 1, 2];
const BUS = 'pipecat.bus.messages.';
const NOWHERE = { data: 0, system: 0, reply: 0, cancels: 0 };
const LANE = { had: 0, bytesHad: 0, pieces: [], sent: 0, bytesSent: 0, messages: 0, bytes: 0 };

const made = (size, write) => { const bytes = Buffer.alloc(size); write(bytes); return bytes; };
const u32 = (number) => made(4, (bytes) => bytes.writeUInt32BE(number));
const u64 = (number) => made(8, (bytes) => bytes.writeBigUInt64BE(BigInt(number)));
const WAITING = 256; // replies that wait to leave before who makes them does
const json = (value) => Buffer.from(JSON.stringify(value));

class Link {
  constructor(url, token, heartbeat, jobs) {
    this.limits = { message_size: 2 ** 20, window: 2 ** 16, messages: 1024, heartbeat };
    this.lanes = [DATA, SYSTEM, REPLY].map(() => ({ ...LANE, queue: [] }));
    Object.assign(this, { jobs, asked: new Map(), served: new Map(), cancelsHad: 0, cancelsSent: 0, heard: Date.now() });
    Object.assign(this, { signs: { pings: 0, pongs: 0 }, held: new Set(), holds: 0 });
    this.socket = new WebSocket(url, 'trioworkers.v1', { headers: { Authorization: `Bearer ${token}` } });
    this.socket.on('open', () => this.say(HELLO, json({ version: 1, name: `${crypto.randomUUID()}.1`,
      limits: this.limits, sent: NOWHERE, meeting: null, had: NOWHERE })));
    this.socket.on('message', (frame) => { if (this.window || frame[0] === HELLO) this.hear(frame); });
    setInterval(() => this.watch(), heartbeat * 100).unref();
    this.opened = new Promise((resolve) => { this.open = resolve; });
  }

  say(kind, ...parts) {
    const body = Buffer.concat(parts);
    if (!this.gone) this.socket.send(Buffer.concat([Buffer.of(kind), u32(body.length), body]));
  }

  hear(frame) {
    Object.assign(this, { heard: Date.now(), pinged: false });
    for (let at = 0, end; at < frame.length; at = end) {
      end = at + 5 + frame.readUInt32BE(at + 1);
      this.take(frame[at], frame.subarray(at + 5, end));
    }
    const credit = this.lanes.flatMap(({ had, bytesHad }) => [had + this.messages, bytesHad + this.half, had]);
    this.say(CREDIT, ...credit.map(u64), u64(this.cancelsHad));
    this.leave();
  }

  take(kind, body) {
    const lane = this.lanes[body[0]];
    if (kind === HELLO) {
      const { limits, sent } = JSON.parse(body);
      this.window = Math.min(this.limits.window, limits.window);
      this.half = Math.floor(this.window / 2);
      this.messages = Math.min(this.limits.messages, limits.messages);
      [sent.data, sent.system, sent.reply].forEach((number, which) => { this.lanes[which].had = number; });
      this.cancelsHad = sent.cancels;
      this.open();
    } else if (kind === CREDIT) {
      const number = (place) => Number(body.readBigUInt64BE(8 * place));
      this.lanes.forEach((each, n) => Object.assign(each, { messages: number(3 * n), bytes: number(3 * n + 1) }));
    } else if (kind === MESSAGES) {
      const count = body.readUInt32BE(9);
      for (let n = 0, at = 13 + 4 * count; n < count; n += 1) {
        const end = at + body.readUInt32BE(13 + 4 * n);
        lane.bytesHad += end - at;
        this.arrive(lane, {}, body.subarray(at, end));
        at = end;
      }
    } else if (kind === ENVELOPE) this.join(lane, body.length - 9, body.subarray(9));
    else if (kind === UNIT) this.join(lane, body.readUInt32BE(9), body.subarray(17));
    else if (kind === ABANDON) Object.assign(lane, { pieces: [], had: lane.had + 1 });
    else if (kind === CANCEL) {
      const { first, jobs } = JSON.parse(body);
      for (const [id, reason, path] of jobs.slice(this.cancelsHad + 1 - first)) this.served.get(id)?.({ reason, path });
      this.cancelsHad = Math.max(this.cancelsHad, first + jobs.length - 1);
    } else if (kind === HOLD) {
      this.holds += body[0];
      this.held[body[0] ? 'add' : 'delete'](body.toString('utf8', 1));
    } else if (kind === PING) { this.signs.pings += 1; this.say(PONG, body); }
    else if (kind === PONG) this.signs.pongs += 1;
  }

  join(lane, length, piece) {
    lane.bytesHad += piece.length;
    lane.pieces = [...lane.pieces, piece];
    const whole = Buffer.concat(lane.pieces);
    if (whole.length < length) return;
    const start = 4 + whole.readUInt32BE(0);
    lane.pieces = [];
    this.arrive(lane, start > 4 ? JSON.parse(whole.subarray(4, start)) : {}, whole.subarray(start));
  }

  send(lane, type, fields, meta) {
    const head = meta ? json(meta) : Buffer.alloc(0);
    const body = json({ __type__: type, __data__: { source: 'acme', target: 'assistant', ...fields } });
    const message = { left: 0, whole: Buffer.concat([u32(head.length), head, body]) };
    this.lanes[lane].queue.push(message);
    this.leave();
    return message;
  }

  leave() {
    for (const which of [SYSTEM, DATA, REPLY]) {
      const lane = this.lanes[which];
      for (let message; (message = lane.queue[0]);) {
        const { whole, left } = message;
        const end = Math.min(whole.length, left + Math.floor(this.half / 4), left + lane.bytes - lane.bytesSent);
        if (!(end > left) || (left === 0 && lane.sent >= lane.messages)) break;
        if (left === 0) message.number = lane.sent += 1;
        const head = [Buffer.of(which), u64(message.number)];
        if (end - left === whole.length) this.say(ENVELOPE, ...head, whole);
        else this.say(UNIT, ...head, u32(whole.length), u32(left), whole.subarray(left, end));
        lane.bytesSent += end - left;
        message.left = end;
        if (end === whole.length) lane.queue.shift();
      }
    }
  }

  watch() {
    const silent = (Date.now() - this.heard) / 1000 / this.limits.heartbeat;
    if (silent >= 2) this.socket.terminate();
    else if (silent >= 1 && this.window && !this.pinged) { this.pinged = true; this.say(PING, u64(7)); }
  }

  goodbye(code, reason) {
    this.say(GOODBYE, json({ code, reason }));
    this.gone = true;
    this.socket.close(code, reason);
  }

  // Messages

  arrive(lane, meta, body) {
    lane.had += 1;
    const { __type__: tag, __data__: data } = JSON.parse(body);
    const type = tag.replace(BUS, ''), asked = this.asked.get(data.job_id);
    if (type === 'BusJobRequestMessage') this.serve(data, meta);
    else if (/^BusJobResponse/.test(type)) asked.end({ status: data.status, response: data.response });
    else if (type === 'BusJobStreamEndMessage') asked.end({ status: 'completed', response: data.data });
    else if (asked) asked.happened({ type, data: data.data ?? data.update });
    else this.onmessage(type, data);
  }

  async ask(name, payload, { meta, happened = () => {} } = {}) {
    const job = { id: crypto.randomUUID(), events: [] };
    const ended = new Promise((resolve) => { job.end = resolve; });
    job.happened = (event) => { job.events.push(event); happened(job, event); };
    this.asked.set(job.id, job);
    job.request = this.send(DATA, `${BUS}BusJobRequestMessage`, { job_id: job.id, job_name: name, payload }, meta);
    const outcome = await ended;
    this.asked.delete(job.id);
    return { events: job.events, ...outcome };
  }

  cancel(job, reason) {
    this.say(CANCEL, json({ first: this.cancelsSent += 1, jobs: [[job.id, reason, 'shop/acme', job.request.number]] }));
  }

  async serve({ job_id, job_name, payload }, meta) {
    const reply = (type, fields) => this.send(REPLY, `${BUS}BusJob${type}Message`, { job_id, ...fields });
    const full = () => this.held.has(job_id) || this.lanes[REPLY].queue.length >= WAITING;
    const tell = async (type, fields) => {
      while (full()) await new Promise((resolve) => { setTimeout(resolve, 5); });
      reply(type, fields);
    };
    const cancel = new Promise((resolve) => this.served.set(job_id, resolve));
    reply('Response', await this.jobs[job_name]({ payload, meta, tell, cancel, holds: () => this.holds }));
    this.served.delete(job_id);
    this.held.delete(job_id);
  }
}

// What it does.

const LIFE = 120; // seconds after which the process ends whatever happens
setTimeout(() => process.exit(1), LIFE * 1000).unref();
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const jobs = {
  async shout({ payload, meta, tell }) {
    await tell('Update', { update: { breath: 'deep' } });
    return { status: 'completed', response: { text: payload.text.toUpperCase(), seconds: meta.seconds } };
  },
  async many({ payload, tell, holds }) {
    for (let number = 0; number < payload.n; number += 1) await tell('StreamData', { data: { number } });
    return { status: 'completed', response: { holds: holds() } };
  },
  async fail() { return { status: 'failed', response: { error: 'no voice' } }; },
  async wait({ tell, cancel }) {
    await tell('Update', { update: { waits: true } });
    const { reason, path } = await cancel;
    say({ told: 'cancel', reason, path });
    return { status: 'cancelled' };
  },
};

async function main() {
  const [url, token, heartbeat] = process.argv.slice(2);
  const link = new Link(url, token, Number(heartbeat), jobs);
  link.socket.on('error', (error) => say({ error: error.message }));
  link.socket.on('close', (code, reason) => { say({ closed: code, reason: reason.toString() }); process.exit(0); });
  const messages = [];
  link.onmessage = (type, data) => messages.push({ type, data });
  await link.opened;
  say({ opened: link.socket.protocol });
  link.send(SYSTEM, `${BUS}BusWorkerRegistryMessage`, { runner: 'shop', workers: [
    { __type__: 'pipecat.registry.types.WorkerRegistryEntry', __data__: { name: 'acme', active: true } }] });
  say({ count: await link.ask('count', { n: 2 }) });
  say({ stream: await link.ask('stream', { n: 3 }) });
  say({ unknown: await link.ask('unknown') });
  say({ cancelled: await link.ask('sleep', null, { happened: (job) => link.cancel(job, 'no longer wanted') }) });
  say({ late: await link.ask('sleep', null, { meta: { seconds: 0.5 } }) });
  const text = 'x'.repeat(300_000);
  const { status, response } = await link.ask('echo', { text });
  say({ large: status, same: response.text === text });
  say({ back: await link.ask('ask_back', { text: 'hello' }) });
  link.send(DATA, 'Note', { text: 'good day' });
  say({ noted: await link.ask('noted') });
  say({ messages });
  const wait = (job) => {
    const timer = setInterval(() => {
      if (link.signs.pings + link.signs.pongs < 2) return;
      clearInterval(timer);
      link.send(DATA, `${BUS}BusJobUpdateRequestMessage`, { job_id: job.id });
    }, 50);
  };
  say({ idle: await link.ask('idle', null, { happened: (job, { data }) => { if (data.begun) wait(job); } }) });
  say(link.signs);
  link.goodbye(1000, 'done');
}
main();
