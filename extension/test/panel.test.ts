import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { Page, turn, until } from './support/page';
import { actor, cluster, EMPTY, snapshot, task } from './support/samples';
import { Server } from './support/server';

let server: Server;
let page: Page;

beforeEach(() => {
  server = new Server();
  server.documents.set('snapshot c1', EMPTY.snapshot);
  server.documents.set('snapshot c2', snapshot({ cluster_id: 'c2' }));
});

afterEach(() => page.close());

test('a newcomer starts a cluster with one click and sees it', async () => {
  page = new Page(server);
  await page.says('No cluster is running');
  server.on('POST clusters', ({ body }) => {
    expect(body).toEqual({});
    server.setClusters(cluster('c1'));
    return { status: 201, body: cluster('c1') };
  });
  await page.click('start-first');
  await page.says('cluster c1');
  await page.named('details');
  expect(page.model.selected?.cluster_id).toBe('c1');
  expect(page.text).not.toContain('No cluster is running');
});

test('a cluster that is coming up anywhere is shown, and one that fails says why', async () => {
  server.starting = ['theirs'];
  page = new Page(server);
  await page.says('theirs');
  await page.says('starting…');
  server.starting = [];
  server.setClusters();
  server.on('POST clusters', () => ({ status: 409, body: { message: 'Too many clusters run.' } }));
  await page.click('start-first');
  await page.says('Too many clusters run.');
});

test('the form is made of the schema, offers profiles, and shows errors where they belong', async () => {
  server.options.profiles = {
    grid: { kind: 'slurm', summary: 'slurm, up to 10 nodes more', problem: null },
    odd: { kind: null, summary: '', problem: 'it sets adress' }
  };
  page = new Page(server);
  await page.says('No cluster is running');
  await page.click('options');
  const profile = (await page.find('[name=profile]')) as HTMLSelectElement;
  expect([...profile.options].map(option => [option.text, option.disabled])).toEqual([
    ['no profile', false],
    ['grid – slurm, up to 10 nodes more', false],
    ['odd (cannot be used)', true]
  ]);

  // What cannot be understood is said at the field, and nothing is sent.
  await page.type('object_store_memory', 'a lot');
  await page.click('start-with-options');
  const alert = await page.find('[role=alert]');
  expect(alert.textContent).toMatch(/^Object store: write it as in 2 GB/);
  expect((await page.find('[name=object_store_memory]')).getAttribute('aria-describedby')).toBe(alert.id);
  expect(server.asked('POST')).toEqual([]);

  // So is what the server refuses.
  const bodies: any[] = [];
  server.on('POST clusters', ({ body }) => {
    bodies.push(body);
    return { status: 400, body: { message: 'Two are the most.', field: 'num_cpus' } };
  });
  await page.type('object_store_memory', '2 GB');
  await page.type('num_cpus', '3');
  await page.type('profile', 'grid');
  await page.click('start-with-options');
  await page.says('Two are the most.');
  expect((await page.find('[name=num_cpus]')).getAttribute('aria-invalid')).toBe('true');
  expect(bodies).toEqual([{ num_cpus: 3, object_store_memory: 2 * 2 ** 30, profile: 'grid' }]);

  server.on('POST clusters', () => ({ status: 201, body: cluster('c1') }));
  await page.click('start-with-options');
  await until(() => page.all('[data-rayjup=form]').length === 0, 'the form closes');
});

test('a cluster is restarted as it was started, or with its name and resources', async () => {
  const bodies: any[] = [];
  server.on('POST clusters', ({ body }) => {
    bodies.push(body);
    return { status: 201, body: cluster('c9', { name: body.name }) };
  });
  const grid = cluster('c1', { name: 'grid', options: { name: 'grid', profile: 'queue' } });
  server.clusters = [grid, cluster('c2', { resources: { CPU: 2, GPU: 1 } })];
  page = new Page(server);
  await page.says('cluster c2');
  await page.model.restart(grid);
  await page.model.restart(server.clusters[1]);
  expect(server.asked('DELETE')).toEqual(['clusters/c1', 'clusters/c2']);
  expect(bodies).toEqual([
    { name: 'grid', profile: 'queue' },
    { name: 'cluster c2', num_cpus: 2, num_gpus: 1 }
  ]);
});

test('when the server goes the panel says so, keeps what it knew, and finds everything again', async () => {
  server.clusters = [cluster('c1'), cluster('c2')];
  page = new Page(server);
  await (await page.find('[data-cluster=c1] .rj-Row-name')).click();
  await page.named('details');
  server.setUp(false);
  await page.says('The Jupyter server cannot be reached. Reconnecting…');
  expect(page.all('[data-rayjup=cluster]').length).toBe(2);
  expect(page.all('.rj-Body.rj-mod-stale').length).toBe(1);

  server.said.length = 0;
  server.documents.set('snapshot c1', snapshot({ tasks: [task('after')] }));
  server.clusters = [cluster('c1')]; // the other one has been stopped meanwhile
  server.up = true;
  (await page.find('[data-rayjup=reconnecting] button')).click();
  await page.says('after');
  await until(() => page.all('[data-rayjup=reconnecting]').length === 0, 'the banner goes');
  expect(page.all('[data-rayjup=cluster]').length).toBe(1);
  expect(server.said).toEqual(['subscribe clusters', 'subscribe snapshot']);
  expect(server.sockets.length).toBe(2);
});

test('somebody who has been logged out is told so', async () => {
  server.clusters = [cluster('c1')];
  page = new Page(server);
  await page.says('cluster c1');
  server.on('GET clusters', () => ({ status: 403, body: { message: 'Forbidden' } }));
  server.socket.onclose?.({});
  await page.says('You are not logged in to the Jupyter server any more.');
});

test('documents change in place, and only what is unfolded and visible is asked for', async () => {
  server.clusters = [cluster('c1')];
  server.documents.set('snapshot c1', snapshot({ tasks: [task('alpha')], actors: [actor(1)] }));
  server.documents.set('jobs c1', EMPTY.jobs);
  page = new Page(server);
  await page.says('alpha');
  expect(server.said).toEqual(['subscribe clusters', 'subscribe snapshot']);
  server.change('snapshot', 'c1', { change: { tasks: { rows: 'name', set: { beta: task('beta') } } } });
  await page.says('beta');
  server.change('snapshot', 'c1', { change: { tasks: { rows: 'name', drop: ['alpha'], order: ['beta'] } } });
  await until(() => !page.text.includes('alpha'), 'the row goes');

  server.said.length = 0;
  await page.click('fold-jobs');
  await page.says('No jobs yet.');
  await page.click('fold-jobs');
  expect(server.said).toEqual(['subscribe jobs', 'unsubscribe jobs']);

  server.said.length = 0;
  page.panel.hide();
  await until(() => server.said.length === 1, 'it is not asked for any more');
  server.setClusters(cluster('c1'), cluster('new'));
  await until(() => page.model.clusters.length === 2, 'the model knows of it');
  await turn();
  expect(page.text).not.toContain('cluster new'); // nobody sees it, so nothing is drawn
  page.panel.show();
  await page.says('cluster new');
  await until(() => server.said.length === 2, 'it is asked for again');
  expect(server.said).toEqual(['unsubscribe snapshot', 'subscribe snapshot']);

  server.said.length = 0;
  page.model.setVisible(false);
  expect(server.socket.paused).toBe(true);
  page.model.setVisible(true);
  expect(server.said).toEqual(['pause', 'resume']);
});

test('a cluster that does not answer says why, and shows the end of its log', async () => {
  server.documents.clear();
  server.clusters = [cluster('c1', { state: 'unreachable', reason: 'it hangs', log: 'the last words' })];
  page = new Page(server);
  await page.says('does not answer');
  await until(() => server.said.includes('subscribe snapshot'), 'it is asked for');
  server.socket.receive({ type: 'unreachable', topic: 'snapshot', cluster: 'c1', reason: 'it hangs' });
  await page.says('Cluster “cluster c1” does not answer: it hangs.');
  expect(page.text).toContain('the last words');
  server.put('snapshot', 'c1', EMPTY.snapshot);
  await page.named('details');
});

test('buttons of a cluster mean that cluster, and what was chosen is kept', async () => {
  server.clusters = [cluster('c1'), cluster('c2')];
  page = new Page(server);
  await page.says('cluster c1');
  (await page.find('[data-cluster=c1] [data-rayjup=stop]')).click();
  (await page.find('[data-cluster=c1] [data-rayjup=insert]')).click();
  await turn();
  expect(page.executed).toEqual([
    ['rayjup:stop-cluster', { cluster: 'c1' }],
    ['rayjup:insert-join-cell', { cluster: 'c1' }]
  ]);
  expect(page.model.selected?.cluster_id).toBe('c2'); // the newest; buttons do not choose
  page.model.fold('tasks', true);
  const state = page.model.state;
  expect(state).toEqual({ cluster: 'c2', folded: { tasks: true } });
  page.close();

  server.clusters = [cluster('c2'), cluster('c3')];
  page = new Page(server);
  page.model.restore(state);
  await page.named('details');
  expect(page.model.selected?.cluster_id).toBe('c2');
  expect((await page.named('fold-tasks')).getAttribute('aria-expanded')).toBe('false');
});

test('where a profile has to be chosen, the form says so, also when there is none for this user', async () => {
  server.options.may_start_without_profile = false;
  page = new Page(server);
  await page.says('No cluster is running');
  await page.click('options');
  const profile = (await page.find('[name=profile]')) as HTMLSelectElement;
  expect([...profile.options].map(option => option.text)).toEqual(['choose a profile']);
});
