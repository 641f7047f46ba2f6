import assert from 'node:assert/strict';
import { test } from '@jest/globals';

import { joinCell, joinCode, reference } from '../src/join';
import type { IClusterSummary } from '../src/types';

function cluster(name: string, cluster_id: string): IClusterSummary {
  return {
    cluster_id,
    name,
    address: 'unix:///x',
    created: 0,
    started_by: 'panel',
    linger_s: null,
    state: 'running',
    reason: null,
    nodes: 1,
    resources: {},
    available: {}
  };
}

test('a cluster is called by its name where that names one cluster', () => {
  const one = cluster('report', 'id1');
  assert.equal(reference(one, [one, cluster('other', 'id2')]), 'report');
});

test('namesakes and odd names are called by id', () => {
  const one = cluster('report', 'id1');
  assert.equal(reference(one, [one, cluster('report', 'id2')]), 'id1');
  const odd = cluster('my "own" name; rm', 'id3');
  assert.equal(reference(odd, [odd]), 'id3');
});

test('the cell loads the extension only where the kernel has not', () => {
  assert.equal(joinCell('report', 'rayjup'), '%ray_init --address report');
  assert.equal(joinCell('report', 'python3'), '%load_ext rayjup\n%ray_init --address report');
  assert.equal(joinCell('report', null), '%load_ext rayjup\n%ray_init --address report');
});

test('the code for a script is a Python string whatever the name', () => {
  assert.match(joinCode('a"b'), /address="a\\"b"/);
});
