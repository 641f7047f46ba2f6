import assert from 'node:assert/strict';
import { test } from '@jest/globals';

import { ISocket, LiveConnection, LiveStatus, SILENCE_MS } from '../src/live';
import type { LiveMessage } from '../src/types';

/** A clock and the sockets a connection opens, both moved by hand. */
class World {
  now = 0;
  sockets: FakeSocket[] = [];
  statuses: LiveStatus[] = [];
  messages: LiveMessage[] = [];
  documents: [string, string, any][] = [];
  readonly live = new LiveConnection({
    connect: () => {
      const socket = new FakeSocket();
      this.sockets.push(socket);
      return socket;
    },
    onMessage: message => this.messages.push(message),
    onDocument: (topic, cluster, document) => this.documents.push([topic, cluster, document]),
    onStatus: status => this.statuses.push(status),
    now: () => this.now,
    setTimer: (call, ms) => {
      const timer = { at: this.now + ms, call };
      this._timers.push(timer);
      return timer;
    },
    clearTimer: timer => {
      this._timers = this._timers.filter(other => other !== timer);
    }
  });

  get socket(): FakeSocket {
    return this.sockets[this.sockets.length - 1];
  }

  get timers(): number {
    return this._timers.length;
  }

  advance(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const due = this._timers.filter(t => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) {
        break;
      }
      this._timers = this._timers.filter(t => t !== due);
      this.now = due.at;
      due.call();
    }
    this.now = end;
  }

  private _timers: { at: number; call: () => void }[] = [];
}

class FakeSocket implements ISocket {
  onopen: ((event: any) => void) | null = null;
  onmessage: ((event: any) => void) | null = null;
  onclose: ((event: any) => void) | null = null;
  sent: any[] = [];
  closed = false;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.closed = true;
  }

  receive(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
}

const LIST = { type: 'clusters', clusters: [], starting: [], time: 0 };

test('subscriptions are made anew after the line was lost', () => {
  const world = new World();
  world.live.open();
  const release = world.live.subscribe('snapshot', 'c1');
  assert.deepEqual(world.socket.sent, [], 'nothing can be sent before the line is open');
  world.socket.onopen?.({});
  world.socket.receive(LIST);
  assert.deepEqual(world.statuses[world.statuses.length - 1], { state: 'live' });
  release();
  world.live.subscribe('snapshot', 'c2');
  world.socket.onclose?.({});
  world.advance(1000);
  assert.equal(world.sockets.length, 2);
  world.socket.onopen?.({});
  assert.deepEqual(world.socket.sent, [
    { type: 'subscribe', topic: 'clusters' },
    { type: 'subscribe', topic: 'snapshot', cluster: 'c2' }
  ]);
});

test('what several views want is asked for once, until the last one has gone', () => {
  const world = new World();
  world.live.open();
  world.socket.onopen?.({});
  world.socket.sent.length = 0;
  const one = world.live.subscribe('trials', 'c1');
  const two = world.live.subscribe('trials', 'c1');
  const other = world.live.subscribe('jobs', 'c1');
  one();
  one();
  two();
  other();
  assert.deepEqual(
    world.socket.sent.map(m => [m.type, m.topic]),
    [
      ['subscribe', 'trials'],
      ['subscribe', 'jobs'],
      ['unsubscribe', 'trials'],
      ['unsubscribe', 'jobs']
    ]
  );
});

test('documents come whole first and then as changes', () => {
  const world = new World();
  world.live.open();
  world.live.subscribe('snapshot', 'c1');
  world.socket.onopen?.({});
  const about = { topic: 'snapshot', cluster: 'c1' };
  world.socket.receive({ type: 'whole', ...about, version: 4, document: { a: 1, b: 2 } });
  world.socket.receive({ type: 'change', ...about, from: 4, version: 5, change: { set: { a: 9 } } });
  assert.deepEqual(world.documents, [
    ['snapshot', 'c1', { a: 1, b: 2 }],
    ['snapshot', 'c1', { a: 9, b: 2 }]
  ]);
  assert.deepEqual(world.messages, []);

  world.socket.sent.length = 0;
  world.socket.receive({ type: 'change', ...about, from: 7, version: 8, change: { set: { a: 0 } } });
  assert.equal(world.documents.length, 2, 'a change to a version that is not here is of no use');
  assert.deepEqual(world.socket.sent, [{ type: 'subscribe', ...about }], 'the whole is asked for');
});

test('after a lost line no change is made to what was known before', () => {
  const world = new World();
  world.live.open();
  world.live.subscribe('snapshot', 'c1');
  world.socket.onopen?.({});
  const about = { topic: 'snapshot', cluster: 'c1' };
  world.socket.receive({ type: 'whole', ...about, version: 4, document: { a: 1 } });
  world.socket.onclose?.({});
  world.advance(1000);
  world.socket.onopen?.({});
  world.socket.receive({ type: 'change', ...about, from: 4, version: 5, change: { set: { a: 9 } } });
  assert.equal(world.documents.length, 1);
});

test('a late word about something nobody wants any more is passed over', () => {
  const world = new World();
  world.live.open();
  const release = world.live.subscribe('logs', 'c1');
  world.socket.onopen?.({});
  release();
  world.socket.receive({ type: 'whole', topic: 'logs', cluster: 'c1', version: 1, document: {} });
  assert.deepEqual(world.documents, []);
});

test('pauses between attempts grow to a limit, and shrink after success', () => {
  const world = new World();
  world.live.open();
  const pauses: number[] = [];
  for (let i = 0; i < 9; i++) {
    world.socket.onclose?.({});
    const status = world.statuses[world.statuses.length - 1];
    assert.equal(status.state, 'reconnecting');
    pauses.push(status.state === 'reconnecting' ? status.retryAt - world.now : 0);
    world.advance(15_000);
  }
  assert.deepEqual(
    pauses.map(Math.round),
    [1000, 1500, 2250, 3375, 5063, 7594, 11_391, 15_000, 15_000]
  );
  world.socket.onopen?.({});
  world.socket.receive(LIST);
  world.socket.onclose?.({});
  const status = world.statuses[world.statuses.length - 1];
  assert.equal(status.state === 'reconnecting' && status.retryAt - world.now, 1000);
});

test('a line that opens but never speaks does not reset the pauses', () => {
  const world = new World();
  world.live.open();
  world.socket.onclose?.({});
  world.advance(1000);
  world.socket.onopen?.({});
  world.socket.onclose?.({});
  const status = world.statuses[world.statuses.length - 1];
  assert.equal(status.state === 'reconnecting' && status.attempt, 2);
});

test('retry by hand does not wait, and leaves no second attempt behind', () => {
  const world = new World();
  world.live.open();
  world.socket.onclose?.({});
  world.live.open();
  assert.equal(world.sockets.length, 2);
  world.advance(60_000);
  assert.equal(world.sockets.length, 2);
});

test('hidden means quiet: paused, not watched for silence, and resumed when seen again', () => {
  const world = new World();
  world.live.open();
  world.socket.onopen?.({});
  world.live.setVisible(false);
  world.live.setVisible(false);
  world.advance(10 * SILENCE_MS);
  assert.equal(world.sockets.length, 1, 'silence is no fault while paused');
  world.live.setVisible(true);
  assert.deepEqual(
    world.socket.sent.map(m => m.type),
    ['subscribe', 'pause', 'resume']
  );
});

test('a panel hidden from the start pauses before it subscribes', () => {
  const world = new World();
  world.live.setVisible(false);
  world.live.open();
  world.socket.onopen?.({});
  assert.deepEqual(
    world.socket.sent.map(m => m.type),
    ['pause', 'subscribe']
  );
});

test('a silent line is given up and made anew', () => {
  const world = new World();
  world.live.open();
  world.socket.onopen?.({});
  world.socket.receive(LIST);
  const first = world.socket;
  world.advance(SILENCE_MS - 1);
  first.receive(LIST);
  world.advance(SILENCE_MS - 1);
  assert.equal(first.closed, false, 'every message counts as a sign of life');
  world.advance(1);
  assert.equal(first.closed, true);
  world.advance(1000);
  assert.equal(world.sockets.length, 2);
});

test('closed for good: no timers, no attempts, the socket is closed', () => {
  const world = new World();
  world.live.open();
  world.socket.onopen?.({});
  world.live.close();
  assert.equal(world.socket.closed, true);
  assert.equal(world.timers, 0);
  world.live.open();
  assert.equal(world.sockets.length, 1);
});
