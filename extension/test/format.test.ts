import assert from 'node:assert/strict';
import { test } from '@jest/globals';

import * as format from '../src/format';

const GB = 1024 ** 3;

test('bytes keep three significant digits and change unit at the right place', () => {
  assert.equal(format.bytes(0), '0 B');
  assert.equal(format.bytes(1023), '1023 B');
  assert.equal(format.bytes(1024), '1.00 KB');
  assert.equal(format.bytes(10.26 * 1024 ** 2), '10.3 MB');
  assert.equal(format.bytes(141 * GB), '141 GB');
  // Rounding must not give "1024 MB".
  assert.equal(format.bytes(GB - 1), '1.00 GB');
});

test('used and total share the unit of the total', () => {
  assert.equal(format.bytesOf(300 * 1024 ** 2, 5 * GB), '0.3 / 5.0 GB');
  assert.equal(format.bytesOf(12 * GB, 141 * GB), '12 / 141 GB');
  assert.equal(format.bytesOf(0, 0), '…');
});

test('counts stay narrow', () => {
  assert.equal(format.count(99_999), '99999');
  assert.equal(format.count(123_456), '123k');
  assert.equal(format.count(4_500_000), '4.5M');
  assert.equal(format.count(45_000_000), '45M');
});

test('durations use two units at most', () => {
  assert.equal(format.duration(-3), '0 s');
  assert.equal(format.duration(59.9), '59 s');
  assert.equal(format.duration(3599), '59 min');
  assert.equal(format.duration(3600), '1 h');
  assert.equal(format.duration(7500), '2 h 5 min');
  assert.equal(format.duration(100 * 3600), '4 d 4 h');
});

test('a share is between 0 and 1 whatever it is made of', () => {
  assert.equal(format.share(1, 0), 0);
  assert.equal(format.share(3, 2), 1);
  assert.equal(format.share(-1, 2), 0);
  assert.equal(format.share(1, 4), 0.25);
});

test('resources read as words, without the internal ones', () => {
  assert.equal(
    format.resources({ CPU: 2, GPU: 0.30000000000000004, 'node:10.0.0.1': 1, memory: 8 * GB, TPU: 0 }),
    '2 CPU, 0.3 GPU, 8.00 GB memory'
  );
  assert.equal(format.resources({}), 'nothing');
});
