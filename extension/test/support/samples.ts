/** Documents as the server sends them. */

import type { IActorRow, IClusterSummary, IDocuments, INode, ISnapshot, ITaskRow } from '../../src/types';

export const LONG = `a_name_${'that_does_not_end_'.repeat(20)}`;

export function cluster(id: string, more: Partial<IClusterSummary> = {}): IClusterSummary {
  return {
    cluster_id: id,
    name: `cluster ${id}`,
    address: `unix:///run/${id}`,
    created: 1_699_999_000,
    started_by: 'panel',
    linger_s: 60,
    state: 'running',
    reason: null,
    nodes: 1,
    resources: { CPU: 4 },
    available: { CPU: 4 },
    added: [],
    options: null,
    adapts: false,
    ...more
  };
}

export function node(name: string, more: Partial<INode> = {}): INode {
  return {
    node_id: `id-${name}`,
    name,
    host: 'here',
    alive: true,
    is_head: name === 'first',
    resources_total: { CPU: 4 },
    resources_available: { CPU: 3 },
    cpu_percent: 25,
    mem_used: 2 ** 30,
    mem_total: 2 ** 32,
    store_used: 0,
    store_capacity: 2 ** 30,
    store_objects: 0,
    executors: 2,
    gpus: [],
    ...more
  };
}

export function actor(number: number, more: Partial<IActorRow> = {}): IActorRow {
  const name = `actor-${String(number).padStart(5, '0')}`;
  return { actor_id: name, class_name: 'Worker', name, state: 'ALIVE', node_id: 'id-first', pid: number, pending: 0, ...more };
}

export function task(name: string, more: Partial<ITaskRow> = {}): ITaskRow {
  return { name, pending: 0, running: 1, finished: 2, failed: 0, ...more };
}

export function snapshot(more: Partial<ISnapshot> = {}): ISnapshot {
  const { nodes = [node('first')], tasks = [], actors = [] } = more;
  return {
    cluster_id: 'c1',
    name: 'cluster c1',
    address: 'unix:///run/c1',
    time: 1_700_000_000,
    started_by: 'panel',
    uptime_s: 5,
    nodes,
    tasks,
    actors,
    resources_total: { CPU: 4 },
    resources_available: { CPU: 3 },
    demand: [],
    drivers: [{ pid: 1, job_id: 'j' }],
    totals: { nodes: nodes.length, tasks: tasks.length, actors: actors.length },
    ...more
  };
}

export const EMPTY: IDocuments = {
  snapshot: snapshot(),
  trials: { experiments: [] },
  training: { runs: [] },
  deployments: { applications: [] },
  jobs: { jobs: [] },
  objects: { total: 0, warning: '', kinds: [], objects: [] },
  timeline: { total: 0, warning: '', spans: [] },
  logs: { nodes: [] }
};

const RUN = { run_id: 'r1', state: 'RUNNING', started: 1_699_999_990, updated: 1_700_000_000, ended: null };

export const FULL: IDocuments = {
  snapshot: snapshot({
    nodes: [node('first'), node(LONG, { resources_total: { CPU: 4, GPU: 2 }, resources_available: { GPU: 0.5 } })],
    tasks: [task('f', { pending: 3 }), task(LONG, { failed: 1 })],
    actors: [actor(1), actor(2, { name: LONG, state: 'DEAD' })]
  }),
  trials: {
    experiments: [
      {
        ...RUN,
        kind: 'tune',
        name: LONG,
        metric: 'loss',
        mode: 'min',
        total: 3,
        counts: { RUNNING: 1, TERMINATED: 1 },
        best: { trial_id: 't1', value: 0.25, config: { lr: 0.1 } },
        trials: [
          { trial_id: 't0', status: 'RUNNING', config: { lr: 0.5 }, metrics: { loss: 2 }, iteration: 3, seconds: 1, curve: [3, 2], error: null },
          { trial_id: 't1', status: 'TERMINATED', config: { lr: 0.1 }, metrics: { loss: 0.25 }, iteration: 9, seconds: 1, curve: [1, 0.25], error: null }
        ]
      }
    ]
  },
  training: {
    runs: [
      {
        ...RUN,
        kind: 'train',
        name: 'fit',
        iteration: 7,
        workers: [{ rank: 0, node_id: 'id-first', host: 'here', pid: 9, gpus: ['0'], state: 'RUNNING' }],
        metrics: { [LONG]: 0.125, training_iteration: 7 },
        history: [{ [LONG]: 1 }, { [LONG]: 0.125 }]
      }
    ]
  },
  deployments: {
    applications: [
      {
        name: 'shop',
        status: 'RUNNING',
        route_prefix: '/shop',
        deployments: [
          { name: LONG, status: 'HEALTHY', replica_states: { RUNNING: 2 }, target: 3, per_s: 12.5, p50_ms: 1.5, p99_ms: 2000, errors: 4, waiting: 1 }
        ]
      }
    ]
  },
  jobs: {
    jobs: [
      { id: 'job1', submission_id: 'job1', job_id: null, type: 'SUBMISSION', status: 'RUNNING', entrypoint: `python ${LONG}`, message: null, start_time: 1_699_999_990_000, end_time: null, exit_code: null },
      { id: 'job2', submission_id: 'job2', job_id: null, type: 'SUBMISSION', status: 'FAILED', entrypoint: 'false', message: 'exit code 1', start_time: 1_699_999_990_000, end_time: 1_699_999_991_000, exit_code: 1 },
      { id: '01', submission_id: null, job_id: '01', type: 'DRIVER', status: 'RUNNING', entrypoint: 'notebook', message: null, start_time: 1_699_999_990_000, end_time: null, exit_code: null }
    ]
  },
  objects: {
    total: 3,
    warning: 'one process did not answer',
    kinds: [{ reference_type: 'LOCAL_REFERENCE', count: 3, bytes: 2 ** 20 }],
    objects: [
      { key: 'a', object_id: 'aa', object_size: 2 ** 10, reference_type: 'LOCAL_REFERENCE', pid: 1, type: '', ip: '', task_status: null, call_site: '' },
      { key: 'b', object_id: LONG, object_size: 2 ** 20, reference_type: 'LOCAL_REFERENCE', pid: 1, type: '', ip: '', task_status: null, call_site: '' }
    ]
  },
  timeline: {
    total: 2,
    warning: '',
    spans: [
      { key: '1', name: 'f', place: '10.0.0.1 · 41', start: 1_699_999_995, end: 1_699_999_999, state: 'FINISHED' },
      { key: '2', name: LONG, place: '10.0.0.1 · 42', start: 1_699_999_998, end: null, state: 'RUNNING' }
    ]
  },
  logs: { nodes: [{ node_id: 'id-first', name: 'first', files: ['cluster.log', 'job-driver-job1.log'] }] }
};
