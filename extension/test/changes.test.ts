import assert from 'node:assert/strict';
import { test } from '@jest/globals';

import { applied } from '../src/changes';

const OLD = {
  time: 1,
  nodes: [
    { node_id: 'a', gpus: [{ index: 0, busy: 5 }], cpu: 1 },
    { node_id: 'b', gpus: [], cpu: 2 }
  ],
  gone: true
};

test('values, rows and rows within rows are changed; the rest is the same object', () => {
  const now = applied(OLD, {
    set: { time: 2 },
    drop: ['gone'],
    change: {
      nodes: { rows: 'node_id', change: { a: { change: { gpus: { rows: 'index', change: { '0': { set: { busy: 9 } } } } } } } }
    }
  });
  assert.deepEqual(now, {
    time: 2,
    nodes: [
      { node_id: 'a', gpus: [{ index: 0, busy: 9 }], cpu: 1 },
      { node_id: 'b', gpus: [], cpu: 2 }
    ]
  });
  assert.equal(now.nodes[1], OLD.nodes[1], 'what has not changed need not be drawn again');
  assert.equal(OLD.nodes[0].gpus[0].busy, 5, 'the old one stays as it was');
});

test('rows come and go, and are put in order', () => {
  const now = applied(OLD.nodes, {
    rows: 'node_id',
    set: { c: { node_id: 'c' } },
    drop: ['a'],
    order: ['c', 'b']
  });
  assert.deepEqual(
    now.map((row: any) => row.node_id),
    ['c', 'b']
  );
});
