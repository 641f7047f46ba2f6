import assert from 'node:assert/strict';
import { test } from '@jest/globals';

import { bodyOf, fieldsOf } from '../src/form';
import { Colours, labelsOf, lanesOf, rangeOf, rectangles, ticks } from '../src/lanes';
import { follow, lines } from '../src/logtext';
import { speak, t, tn } from '../src/text';
import type { ISpan } from '../src/types';
import { rowAfter, scrollTo, sorted, windowOf } from '../src/window';

test('of ten thousand rows only those in view are drawn, at every place', () => {
  for (const top of [0, 24, 5000, 24 * 10_000, 1e9]) {
    const { first, end, above, below } = windowOf(10_000, 24, top, 320);
    assert.ok(end - first <= 14 + 17, `${end - first} rows at ${top}`);
    assert.equal(above + below + (end - first) * 24, 240_000, 'the scroll bar is as long as all rows');
    if (top < 24 * 9_980) {
      assert.ok(first * 24 <= top && end * 24 >= top + 320, 'what is in view is drawn');
    }
  }
  assert.deepEqual(windowOf(0, 24, 0, 320), { first: 0, end: 0, above: 0, below: 0 });
});

test('keys move within the table and scroll as far as needed', () => {
  assert.equal(rowAfter('ArrowDown', -1, 5, 3), 0);
  assert.equal(rowAfter('ArrowDown', 4, 5, 3), 4);
  assert.equal(rowAfter('PageDown', 0, 10_000, 12), 12);
  assert.equal(rowAfter('End', 0, 10_000, 12), 9999);
  assert.equal(rowAfter('Home', 77, 10_000, 12), 0);
  assert.equal(rowAfter('x', 0, 5, 3), null);
  assert.equal(rowAfter('ArrowDown', 0, 0, 3), null);
  assert.equal(scrollTo(0, 24, 100, 320), 0);
  assert.equal(scrollTo(10, 24, 100, 320), 100);
  assert.equal(scrollTo(9999, 24, 0, 320), 9999 * 24 + 24 - 320);
});

test('rows are sorted by numbers or words, what is missing comes last both ways', () => {
  const rows = [{ v: 10 }, { v: null }, { v: 9 }, { v: Number.NaN }, { v: 100 }];
  assert.deepEqual(sorted(rows, r => r.v, true).map(r => r.v), [9, 10, 100, null, Number.NaN]);
  assert.deepEqual(sorted(rows, r => r.v, false).map(r => r.v), [100, 10, 9, null, Number.NaN]);
  assert.deepEqual(sorted(['t10', 't9'], r => r, true), ['t9', 't10']);
});

test('a log grows piece by piece, and forgets its beginning when it is very long', () => {
  let log = follow({ text: '', next: null, dropped: false }, { text: 'one\ntw', next: 6, size: 6 });
  log = follow(log, { text: 'o\n', next: 8, size: 8 });
  assert.deepEqual(lines(log.text, ''), ['one', 'two']);
  assert.equal(follow(log, { text: '', next: 8, size: 8 }), log, 'no news, nothing to draw');
  for (let piece = 0; piece < 6; piece++) {
    log = follow(log, { text: `${'x'.repeat(99)}\n`.repeat(10_000), next: 1, size: 1 });
  }
  assert.ok(log.dropped && log.text.length <= 4_000_000);
  assert.ok(lines(log.text, '').every(line => line.length === 99), 'cut at the end of a line');
});

test('lines are filtered by text or by expression, and a broken one shows none', () => {
  const text = 'Alpha\nbeta 1\nBeta 2\n';
  assert.deepEqual(lines(text, 'BETA'), ['beta 1', 'Beta 2']);
  assert.deepEqual(lines(text, '/^beta \\d$/'), ['beta 1', 'Beta 2']);
  assert.deepEqual(lines(text, '/(/'), []);
  assert.deepEqual(lines('', 'x'), []);
});

function span(place: string, start: number, end: number | null, name = 'f'): ISpan {
  return { key: `${place}${start}`, name, place, start, end, state: end === null ? 'RUNNING' : 'FINISHED' };
}

test('a timeline has a lane per process, and running calls reach to now', () => {
  const spans = [span('p1', 0, 4), span('p2', 1, 2), span('p1', 5, null)];
  const lanes = lanesOf(spans);
  assert.deepEqual(
    lanes.map(lane => [lane.place, lane.spans.length]),
    [
      ['p1', 2],
      ['p2', 1]
    ]
  );
  const range = rangeOf(spans, 10, null);
  assert.deepEqual(range, { start: 0, end: 10 });
  assert.deepEqual(
    rectangles(lanes[0], range, 100, 10).map(({ x, width }) => [x, width]),
    [
      [0, 40],
      [50, 50]
    ]
  );
  assert.deepEqual(rangeOf(spans, 10, 3), { start: 7, end: 10 });
  assert.equal(rectangles(lanes[1], { start: 7, end: 10 }, 100, 10).length, 0, 'out of view');
});

test('lanes are named by their processes, and by the hosts where there are several', () => {
  const of = (...places: string[]): string[] => labelsOf(places.map(place => ({ place, spans: [] })));
  assert.deepEqual(of('10.0.0.1 · 7', '10.0.0.1 · 8'), ['pid 7', 'pid 8']);
  assert.deepEqual(of('10.0.0.1 · 7', '10.0.0.2 · 7'), ['10.0.0.1 · 7', '10.0.0.2 · 7']);
  assert.deepEqual(of('somewhere'), ['somewhere']);
});

test('ten thousand short calls are no more rectangles than the timeline is wide', () => {
  const many = Array.from({ length: 10_000 }, (_, i) => span('p', i / 1000, i / 1000 + 0.0005));
  const drawn = rectangles({ place: 'p', spans: many }, { start: 0, end: 10 }, 300, 10);
  assert.ok(drawn.length <= 300);
  assert.equal(drawn.reduce((sum, one) => sum + one.count, 0), 10_000, 'and none is lost');
});

test('the axis has round times', () => {
  assert.deepEqual(ticks({ start: 3, end: 13 }), [0, 2, 4, 6, 8, 10].map(at => [at, `${at} s`]));
  assert.equal(ticks({ start: 0, end: 0.004 })[1][1], '1 ms');
});

test('the busiest names get colours of their own, and keep them', () => {
  const colours = new Colours(2);
  const spans = [span('p', 0, 1, 'short'), span('p', 1, 9, 'long'), span('p', 2, 4, 'middle')];
  const see = (end: number): string[] => colours.see(lanesOf(spans), { start: 0, end }, end);
  assert.deepEqual(see(10), ['long', 'middle', 'short']);
  assert.deepEqual(['long', 'middle', 'short'].map(name => colours.of(name)), [0, 1, null]);
  spans.push(span('p', 10, 100, 'short'));
  assert.deepEqual(see(100)[0], 'short');
  assert.deepEqual(['long', 'middle', 'short'].map(name => colours.of(name)), [0, 1, null]);
});

const SCHEMA = {
  properties: {
    name: { type: 'string', title: 'Name' },
    num_cpus: { type: 'number', title: 'CPUs', minimum: 0 },
    object_store_memory: { type: 'integer', title: 'Object store', format: 'bytes' },
    resources: { type: 'object', title: 'Resources' },
    linger_s: { type: 'number', title: 'Stops after', format: 'seconds' },
    profile: { type: 'string', title: 'Profile' }
  }
};

test('a form comes from the schema, and what is left empty is left to the server', () => {
  assert.deepEqual(
    fieldsOf(SCHEMA, {}, true).map(field => field.name),
    ['name', 'num_cpus', 'object_store_memory', 'resources', 'linger_s'],
    'no profiles, no choice of one'
  );
  const big = { kind: 'slurm', summary: '8 CPU, slurm', problem: null };
  const fields = fieldsOf(SCHEMA, { big }, true);
  assert.deepEqual(fields[fields.length - 1].choices, [
    { value: 'big', label: 'big – 8 CPU, slurm', problem: null }
  ]);
  assert.deepEqual(bodyOf(fields, { name: '  ', num_cpus: '' }), { body: {} });
  assert.deepEqual(
    bodyOf(fields, {
      name: 'mine',
      num_cpus: '2.5',
      object_store_memory: '1.5 GB',
      resources: 'license=2, fpga: 0.5',
      linger_s: '30 min',
      profile: 'big'
    }),
    {
      body: {
        name: 'mine',
        num_cpus: 2.5,
        object_store_memory: 1.5 * 2 ** 30,
        resources: { license: 2, fpga: 0.5 },
        linger_s: 1800,
        profile: 'big'
      }
    }
  );
  for (const [field, text] of [
    ['object_store_memory', 'a lot'],
    ['object_store_memory', '2 parsecs'],
    ['resources', 'license'],
    ['linger_s', 'soon']
  ]) {
    const answer = bodyOf(fields, { [field]: text });
    assert.equal('problem' in answer && answer.problem.field, field, text);
  }
});

test('texts are filled in, and the translator has the last word', () => {
  assert.equal(t('%1 of %2', 3, 'x'), '3 of x');
  assert.equal(tn('%1 call', '%1 calls', 1), '1 call');
  assert.equal(tn('%1 call', '%1 calls', 5), '5 calls');
  speak({ __: (text: string) => text.toUpperCase(), _n: (_one: string, many: string) => many });
  assert.equal(t('hello'), 'HELLO');
});
