/**
 * The panel in a real browser: start a cluster by clicking, join it from the tour notebook, watch
 * the numbers move, stop it. Expects a running JupyterLab with the extension and the kernel.
 *
 *   node ui-tests/panel.mjs --url http://127.0.0.1:8888 --token T --notebook 01_tour.ipynb
 *        [--cells 8] [--cpus 2] [--shots DIR] [--picture FILE] [--chromium FILE]
 *
 * Prints what it checked, one line each, and ends with status 1 at the first thing that is wrong.
 */

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { inBrowser, passed, WAIT_MS } from './lab.mjs';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    token: { type: 'string' },
    notebook: { type: 'string' },
    cells: { type: 'string', default: '8' },
    cpus: { type: 'string', default: '2' },
    shots: { type: 'string' },
    picture: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' }
  }
});

const CLUSTER = 'tour';
let lab;
let page;

await inBrowser(options, async given => {
  lab = given;
  page = lab.page;
  await run();
});

async function run() {
  await lab.open();

  await page.locator('.jp-SideBar [data-id="rayjup-panel"]').click();
  const panel = page.locator('#rayjup-panel');
  await panel.locator('[data-rayjup=empty]').getByText('No cluster is running').waitFor();
  await lab.shot('empty');
  passed('an empty panel invites to start a cluster');

  await startByForm(panel);
  await joinFromNotebook(panel);
  await numbersMove(panel);
  await looksRightInTheDark();
  await stop(panel);
}

async function startByForm(panel) {
  await panel.locator('[data-rayjup=options]').click();
  await panel.locator('input[name=name]').fill('no good');
  await panel.locator('[data-rayjup=start-with-options]').click();
  await panel.getByRole('alert').getByText('name must be').waitFor();
  passed('a bad name is refused beside its field');

  await panel.locator('input[name=name]').fill(CLUSTER);
  await panel.locator('input[name=num_cpus]').fill(options.cpus);
  await panel.locator('input[name=num_gpus]').fill('0');
  await lab.shot('form');
  await panel.locator('[data-rayjup=start-with-options]').click();
  const row = panel.locator('[data-rayjup=cluster]');
  await row.getByText(CLUSTER).waitFor();
  await panel.locator('[data-rayjup=node]').waitFor();
  assert.match(await row.innerText(), new RegExp(`1 node · ${options.cpus} CPU`));
  const meter = name => panel.locator(`[data-rayjup=node] [data-rayjup=meter-${name}]`).innerText();
  await lab.expectSoon('the node has been measured', async () =>
    /^[\d.]+ \/ [\d.]+ [GT]B$/.test(await meter('memory'))
  );
  assert.match(await meter('store'), /^[\d.]+ \/ [\d.]+ [MGT]B$/);
  assert.match(await meter('cpu'), /^\d+ %$/);
  assert.match(await chip(panel), new RegExp(`^0 / ${options.cpus} CPU in use$`));
  await panel.getByText('No tasks yet.').waitFor();
  passed('a cluster started by clicking shows its node, memory and object store');
}

async function joinFromNotebook(panel) {
  const notebook = page.locator('.jp-NotebookPanel:not(.lm-mod-hidden)');
  assert.match(await notebook.locator('.jp-KernelName').innerText(), /rayjup/);
  await notebook.locator('.jp-Cell').first().click();
  await panel.locator('[data-rayjup=insert]').click();
  const inserted = notebook.locator('.jp-CodeCell').first();
  await inserted.getByText(`%ray_init --address ${CLUSTER}`).waitFor();
  passed('"insert" puts a cell that joins the cluster into the notebook');

  await lab.runActiveCell();
  await lab.kernelIsIdle();
  await lab.expectSoon('the notebook is shown as a driver', async () =>
    (await panel.locator('.rj-Summary').innerText()).includes('1 driver')
  );
  assert.equal(await notebook.locator('.jp-OutputArea-output[data-mime-type$=stderr]').count(), 0);
  passed('the notebook has joined, and the panel shows it as a driver');
}

async function numbersMove(panel) {
  const tasks = panel.locator('[data-rayjup=section-tasks]');
  const seen = new Set();
  const inUse = new Set();
  let pictured = false;
  for (let cell = 0; cell < Number(options.cells); cell++) {
    await lab.runActiveCell();
  }
  await lab.expectSoon('the cells have run, and their tasks are shown as finished', async () => {
    const counts = await countsOf(tasks);
    seen.add(counts);
    inUse.add(await chip(panel));
    // The second function of the tour: by then the notebook has something to show as well.
    if (!pictured && /[1-9]\d* running/.test(counts) && (await tasks.locator('.rj-Grid-row').count()) > 1) {
      pictured = true;
      await picture();
    }
    return (await lab.isIdle()) && /[1-9]\d* finished/.test(counts) && !/[1-9]\d* (running|pending)/.test(counts);
  }, 2.5 * WAIT_MS);
  assert.ok(pictured, 'no task was seen running');
  assert.ok(seen.size >= 3, `the table of tasks showed ${seen.size} different states only`);
  assert.ok(inUse.size >= 2, `"CPU in use" never changed: ${[...inUse]}`);
  const errors = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]');
  assert.equal(await errors.count(), 0, 'a cell of the notebook failed');
  await lab.shot('finished');
  passed(`the numbers moved: ${seen.size} states of the task table, CPUs in use ${[...inUse].join('; ')}`);
}

async function looksRightInTheDark() {
  const before = await background();
  await lab.theme('JupyterLab Dark');
  await lab.expectSoon('the panel follows the dark theme', async () => (await background()) !== before);
  await lab.shot('dark');
  passed('the panel follows the dark theme');
}

async function stop(panel) {
  await panel.locator('[data-rayjup=stop]').click();
  const dialog = page.locator('.jp-Dialog');
  await dialog.getByText(`Stop cluster “${CLUSTER}”?`).waitFor();
  await dialog.locator('.jp-mod-reject').click();
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await panel.locator('[data-rayjup=cluster]').count(), 1);
  await panel.locator('[data-rayjup=stop]').click();
  await dialog.locator('.jp-mod-warn').click();
  await panel.locator('[data-rayjup=empty]').waitFor();
  passed('stopping asks first, and then empties the panel');
}

async function chip(panel) {
  return (await panel.locator('[data-rayjup=in-use-CPU]').innerText()).trim();
}

/** The numbers of the task table, as "3 pending, 1 running, …" whatever the width of the panel. */
async function countsOf(tasks) {
  const titles = await tasks.locator('.rj-Grid-row .rj-mod-number').evaluateAll(cells => cells.map(c => c.title));
  return titles.join(', ');
}

async function background() {
  return page.locator('#rayjup-panel').evaluate(node => getComputedStyle(node).backgroundColor);
}

async function picture() {
  await lab.shot('running');
  if (options.picture) {
    fs.mkdirSync(path.dirname(options.picture), { recursive: true });
    await page.screenshot({ path: options.picture });
  }
}
