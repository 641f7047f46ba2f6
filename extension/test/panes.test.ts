import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { PANES } from '../src/panes';
import type { IDocuments, Topic } from '../src/types';
import { Page, turn, until } from './support/page';
import { actor, cluster, EMPTY, FULL, LONG, snapshot } from './support/samples';
import { Server } from './support/server';

let server: Server;
let page: Page;

beforeEach(() => {
  server = new Server();
  server.clusters = [cluster('c1', { added: ['id-second'] })];
  server.documents.set('snapshot c1', EMPTY.snapshot);
  page = new Page(server, false);
});

afterEach(() => page.close());

/** A pane of its own on a document. */
async function open<T extends Topic>(name: string, topic: T, document: IDocuments[T]): Promise<void> {
  server.documents.set(`${topic} c1`, document);
  page.open(name);
  await until(() => page.model.document(topic) !== null, `${topic} comes`);
  await turn();
}

const NOTHING: { [pane: string]: string } = {
  nodes: 'first',
  tasks: 'No tasks yet.',
  actors: 'No actors yet.',
  trials: 'No experiments yet.',
  training: 'No training runs yet.',
  deployments: 'Nothing is served.',
  jobs: 'No jobs yet.',
  objects: 'No process holds an object.',
  timeline: 'Nothing has run yet.',
  logs: ''
};

test.each(PANES.map(pane => [pane.name, pane.topic] as const))('%s: nothing yet, then some', async (name, topic) => {
  await open(name, topic, EMPTY[topic]);
  await page.says(NOTHING[name]);
  server.put(topic, 'c1', FULL[topic]);
  const shown: { [pane: string]: string[] } = {
    nodes: [LONG, '3.5 / 4 CPU'.slice(6), '1.5 / 2', 'head'],
    tasks: [LONG, '3', 'fail'],
    actors: ['actor-00001', LONG, 'alive', 'dead'],
    trials: [LONG, 'Best loss:', '0.25', 'lr=0.5', '1 / 3'],
    training: [LONG, '0.125', '7 reports · 1 worker', 'rank 0', 'GPU 0'],
    deployments: ['shop', '/shop', LONG, '2 / 3', '12.5', '2.0 s'],
    jobs: [LONG, 'running', 'failed', 'notebook'],
    objects: ['1.00 MB', 'local reference', '… and 1 more', 'one process did not answer'],
    timeline: ['2 calls', 'pid 41', 'pid 42'],
    logs: ['cluster.log']
  };
  for (const text of shown[name]) {
    await page.says(text);
  }
  expect(page.all('[role=region]').map(one => one.getAttribute('aria-label'))).toContain(
    PANES.find(pane => pane.name === name)!.title
  );
});

test('what is cut off where it is long can be read in full', async () => {
  await open('tasks', 'snapshot', FULL.snapshot);
  const cell = page.all('[role=gridcell]').find(one => one.textContent === LONG);
  expect(cell?.title).toBe(LONG);
});

test('of ten thousand actors those in view are in the page, and keys lead to the others', async () => {
  const actors = Array.from({ length: 10_000 }, (_, index) => actor(index));
  const began = Date.now();
  await open('actors', 'snapshot', snapshot({ actors }));
  const grid = await page.find('[role=grid]');
  await page.says('actor-00000');
  expect(Date.now() - began).toBeLessThan(5000);
  expect(grid.getAttribute('aria-rowcount')).toBe('10001');
  expect(page.all('.rj-Grid-row').length).toBeLessThan(60);

  const body = await page.find('.rj-Grid-body');
  body.scrollTop = 24 * 5000;
  body.dispatchEvent(new Event('scroll', { bubbles: true }));
  await page.says('actor-05000');
  expect(page.text).not.toContain('actor-00000');

  body.dispatchEvent(new KeyboardEvent('keydown', { key: 'End', bubbles: true }));
  await turn();
  body.dispatchEvent(new Event('scroll', { bubbles: true }));
  await page.says('actor-09999');
  const active = (await page.find('.rj-mod-active')) as HTMLElement;
  expect(active.getAttribute('aria-rowindex')).toBe('10001');
  expect(body.getAttribute('aria-activedescendant')).toBe(active.id);

  // One of them dies: the page is not drawn from scratch.
  server.change('snapshot', 'c1', {
    change: { actors: { rows: 'actor_id', set: { 'actor-09999': actor(9999, { state: 'DEAD' }) } } }
  });
  await page.says('dead');
  expect(page.all('.rj-mod-active')[0]).toBe(active);
});

test('a table is sorted by its heads', async () => {
  await open('objects', 'objects', FULL.objects);
  const first = (): string => page.all('.rj-Grid-row')[0].textContent ?? '';
  expect(first()).toContain('1.00 MB'); // the largest
  const head = page.all('.rj-Grid-sort').find(one => one.textContent?.startsWith('size'))!;
  head.click();
  await until(() => first().includes('1.00 KB'), 'the smallest comes first');
  expect(page.all('[aria-sort=ascending]').length).toBe(1);
});

test('a trial is stopped, and a refusal is shown', async () => {
  await open('trials', 'trials', FULL.trials);
  await page.click('stop-trial');
  await until(() => server.asked('POST').length === 1, 'it was asked for');
  expect(server.requests[server.requests.length - 1]).toEqual({
    method: 'POST',
    path: 'clusters/c1/runs/tune/r1/stop',
    body: { trial_id: 't0' }
  });
  expect(page.all('[data-rayjup=stop-trial]').length).toBe(1); // the other one has ended
  server.on('POST clusters/*/stop', () => ({ status: 409, body: { message: 'It is not yours.' } }));
  await until(() => !(page.all('[data-rayjup=stop-experiment]')[0] as HTMLButtonElement).disabled, 'it may be clicked');
  await page.click('stop-experiment');
  await page.says('It is not yours.');
});

test('an application is taken down only after a question', async () => {
  await open('deployments', 'deployments', FULL.deployments);
  const button = async (kind: string): Promise<void> => {
    await page.click('delete-application');
    (await page.find(`.jp-Dialog .${kind}`)).click();
    await until(() => page.all('.jp-Dialog').length === 0, 'the dialog closes');
  };
  await button('jp-mod-reject');
  expect(server.asked('DELETE')).toEqual([]);
  await button('jp-mod-warn');
  await until(() => server.asked('DELETE').length === 1, 'it was asked for');
  expect(server.asked('DELETE')).toEqual(['clusters/c1/applications/shop']);
});

test('a job is submitted, its log is followed and filtered, and it is stopped', async () => {
  server.documents.set('logs c1', FULL.logs);
  const pieces = ['one\ntwo\n', 'three\n'];
  let sent = 0;
  server.on('GET clusters/c1/logs/file', () => {
    const text = pieces.shift() ?? '';
    sent += text.length;
    return { status: 200, body: { text, next: sent, size: sent } };
  });
  server.on('POST clusters/c1/submissions', () => ({ status: 200, body: { submission_id: 'job1' } }));
  await open('jobs', 'jobs', FULL.jobs);
  const submit = (await page.named('submit-job')) as HTMLButtonElement;
  expect(submit.disabled).toBe(true);
  await page.type('entrypoint', 'python a.py');
  submit.click();
  await page.says('two');
  expect(server.requests.find(one => one.method === 'POST')?.body).toEqual({ entrypoint: 'python a.py' });
  await page.says('three');
  const asked = server.asked('GET').filter(path => path.includes('logs/file'));
  expect(asked[0]).toContain('lines=1000');
  expect(asked[1]).toContain('start=8');

  const filter = (await page.named('log-filter')) as HTMLInputElement;
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')!.set!.call(filter, 'TWO');
  filter.dispatchEvent(new Event('input', { bubbles: true }));
  await until(() => page.all('.rj-Log-line').length === 1, 'one line is left');

  await page.click('stop-job');
  await until(() => server.asked('POST').length === 2, 'it was asked for');
  expect(server.asked('POST')[1]).toBe('clusters/c1/submissions/job1/stop');
  await page.click('delete-job');
  await until(() => server.asked('DELETE').length === 1, 'it was asked for');
  expect(server.asked('DELETE')).toEqual(['clusters/c1/submissions/job2']);
});

test('nodes are added and taken away, and the cluster adapts', async () => {
  const nodes = [...EMPTY.snapshot.nodes, { ...EMPTY.snapshot.nodes[0], node_id: 'id-second', name: 'second', is_head: false }];
  await open('nodes', 'snapshot', snapshot({ nodes }));
  const calls = async (name: string): Promise<string> => {
    const before = server.requests.length;
    const idle = (): boolean => !(page.all(`[data-rayjup=${name}]`)[0] as HTMLButtonElement).disabled;
    await until(idle, `${name} may be clicked`);
    await page.click(name);
    await until(() => server.requests.length > before, `${name} asks the server`);
    const { method, path, body } = server.requests[before];
    return `${method} ${path} ${JSON.stringify(body)}`;
  };
  expect(await calls('add-node')).toBe('POST clusters/c1/added_nodes {}');
  expect(page.all('[data-rayjup=remove-node]').length).toBe(1); // only what was added can be taken away
  expect(await calls('remove-node')).toBe('DELETE clusters/c1/added_nodes/id-second null');
  expect(await calls('adapt')).toBe('PUT clusters/c1/adapt {"min":1,"max":4}');
  server.setClusters(cluster('c1', { adapts: true }));
  await page.named('stop-adapting');
  expect(await calls('stop-adapting')).toBe('DELETE clusters/c1/adapt null');
});

test('rows of the timeline are named, and a call says what it was', async () => {
  await open('timeline', 'timeline', FULL.timeline);
  expect(page.all('[data-rayjup=lane]').map(one => one.textContent)).toEqual(['pid 41', 'pid 42']);
  const spans = page.all('.rj-Timeline-scroll .rj-Timeline-span');
  expect(spans.length).toBe(2);
  // The longer call got the first colour; the legend says which is which.
  expect(page.all('[data-rayjup=legend] li').map(one => one.textContent)).toEqual(['f', LONG]);
  expect(spans[0].classList.contains('rj-mod-colour0')).toBe(true);
  spans[0].dispatchEvent(new MouseEvent('click', { bubbles: true }));
  await page.says('f · 10.0.0.1 · 41 · 4.0 s · finished');
});

test('a GPU that is divided shows its slices, and one that cannot be measured that it is taken', async () => {
  const slice = { index: 0, name: '1g', utilization: null, mem_used: 2 ** 30, mem_total: 2 ** 31, temperature: null };
  const gpu = { index: 0, name: 'H', utilization: 50, mem_used: 2 ** 30, mem_total: 2 ** 34, temperature: 40 };
  const gpus = [gpu, { ...gpu, index: 1, utilization: null, slices: [slice] }, { ...gpu, index: 2 }];
  const nodes = [{ ...EMPTY.snapshot.nodes[0], gpus }];
  await open('nodes', 'snapshot', snapshot({ nodes }));
  const titles = page.all('.rj-Strip-gpu').map(one => one.title);
  expect(titles[0]).toContain('50 %');
  expect(titles[1]).toContain('slice 0: GPU 0, 1g, busy: unknown, 1.0 / 2.0 GB');
});
