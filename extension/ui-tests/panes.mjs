/**
 * Panes of the panel on a cluster where much goes on: trials, deployments, jobs, logs, timeline, GPUs;
 * a pane of its own, the status bar, the dashboard behind the proxy, and what is left after a reload.
 *
 *   node ui-tests/panes.mjs --url http://127.0.0.1:8888 --token T --notebook empty.ipynb
 *        [--shots DIR] [--dashboard] [--restarts] [--head PID] [--chromium FILE]
 *
 * Expects one cluster with an experiment "watched" whose trials run, an application "echo" at /echo, and
 * declared GPUs. With `--restarts` whoever runs this starts the server anew, on the same port, when told so
 * by the line "restart the server". Prints what it checked, one line each, and ends with status 1 at the first thing wrong.
 */

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';

import { inBrowser, passed } from './lab.mjs';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    token: { type: 'string' },
    notebook: { type: 'string' },
    shots: { type: 'string' },
    dashboard: { type: 'boolean', default: false },
    restarts: { type: 'boolean', default: false },
    head: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' }
  }
});

await inBrowser(options, async lab => {
  const { page } = lab;
  await lab.open();
  const panel = page.locator('#rayjup-panel');
  await page.locator('[data-rayjup=status]').waitFor();
  assert.match(await page.locator('[data-rayjup=status]').innerText(), /: [\d.]+ \/ 2 CPU/);
  passed('the status bar shows the load although the panel is closed');

  await page.locator('[data-rayjup=status]').click();
  await panel.locator('[data-rayjup=node]').waitFor();
  const gpus = panel.locator('[data-rayjup=gpus] .rj-Strip-gpu');
  assert.equal(await gpus.count(), 4);
  await lab.expectSoon('GPUs are taken', async () =>
    /[\d.]+ of 4 GPUs in use/.test(await panel.locator('[data-rayjup=gpus] ul').getAttribute('aria-label'))
  );
  passed('a strip shows the four declared GPUs');

  await scale(lab, panel);
  await fold(panel, 'nodes', 'tasks', 'actors');
  await trials(lab, panel);
  await deployments(lab, panel);
  await jobsAndLogs(lab, panel);
  await paneOfItsOwn(lab, panel);
  await attach(lab);
  if (options.dashboard) {
    await dashboard(lab, panel);
  }
  if (options.restarts) {
    await withAnotherServer(lab, panel);
  }
  if (options.head) {
    await withoutItsHead(lab, panel);
  }
});

async function fold(panel, ...names) {
  for (const name of names) {
    await panel.locator(`[data-rayjup=fold-${name}]`).click();
  }
}

async function scale(lab, panel) {
  const nodes = panel.locator('[data-rayjup=node]');
  await panel.locator('[data-rayjup=add-node]').click();
  await lab.expectSoon('a second node joins', async () => (await nodes.count()) === 2);
  await lab.shot('two_nodes');
  await panel.locator('[data-rayjup=remove-node]').click();
  await lab.expectSoon('it leaves again', async () => (await nodes.count()) === 1);
  passed('a node was added and taken away');
}

async function trials(lab, panel) {
  await fold(panel, 'trials');
  const experiment = panel.locator('[data-rayjup=experiment]');
  await experiment.getByText('watched', { exact: true }).waitFor();
  const rows = experiment.locator('.rj-Grid-row');
  await lab.expectSoon('trials have a best one', async () => (await experiment.locator('[data-rayjup=best]').count()) === 1);
  const best = () => experiment.locator('[data-rayjup=best] strong').innerText();
  const before = await best();
  await lab.expectSoon('the best moves', async () => (await best()) !== before);
  const stops = rows.locator('[data-rayjup=stop-trial]');
  const running = await stops.count();
  assert.ok(running >= 2, `${running} trials can be stopped`);
  await lab.shot('trials');
  const { x, width } = await stops.last().boundingBox();
  const edge = await panel.boundingBox();
  assert.ok(x + width <= edge.x + edge.width, 'the button lies within the panel');
  await stops.last().click();
  await lab.expectSoon('a trial stops', async () => (await stops.count()) === running - 1);
  passed('trials move, and one was stopped by clicking');

  // The keyboard alone: into the table, down, and sorted by a column.
  const body = experiment.locator('.rj-Grid-body');
  await body.focus();
  await lab.page.keyboard.press('ArrowDown');
  assert.equal(await experiment.locator('.rj-Grid-row.rj-mod-active').count(), 1);
  assert.ok(await body.getAttribute('aria-activedescendant'));
  await experiment.locator('.rj-Grid-sort').first().press('Enter');
  assert.equal(await experiment.locator('[aria-sort=ascending]').count(), 1);
  passed('the table is used with the keyboard');
  await fold(panel, 'trials');
}

async function deployments(lab, panel) {
  await fold(panel, 'deployments');
  const application = panel.locator('[data-rayjup=application]');
  await application.getByText('echo', { exact: true }).waitFor();
  await application.locator('[data-rayjup=deployment]').getByText('1 / 1').waitFor();
  const [tab] = await Promise.all([
    lab.page.waitForEvent('popup'),
    application.locator('[data-rayjup=open-application]').click()
  ]);
  await tab.getByText('hello from behind the proxy').waitFor();
  assert.match(tab.url(), /\/rayjup\/clusters\/[^/]+\/serve\/echo\/$/);
  await tab.close();
  const facts = application.locator('[data-rayjup=deployment] .rj-Facts');
  await lab.expectSoon('the request is counted', async () => !/p99\s+0 ms/.test(await facts.innerText()));
  await lab.shot('deployments');
  await application.locator('[data-rayjup=delete-application]').click();
  await lab.page.locator('.jp-Dialog .jp-mod-warn').click();
  await panel.getByText('Nothing is served.').waitFor();
  passed('an application was opened through the proxy, counted, and taken down');
  await fold(panel, 'deployments');
}

async function jobsAndLogs(lab, panel) {
  await fold(panel, 'jobs');
  await panel.locator('input[name=entrypoint]').fill('echo first line; echo second; sleep 300');
  await panel.locator('[data-rayjup=submit-job]').click();
  const jobs = panel.locator('[data-rayjup=section-jobs]');
  await jobs.locator('.rj-Log-line').getByText('second').waitFor();
  await jobs.locator('[data-rayjup=log-filter]').fill('FIRST');
  await lab.expectSoon('one line is left', async () => (await jobs.locator('.rj-Log-line').count()) === 1);
  await lab.shot('jobs');
  await jobs.locator('[data-rayjup=stop-job]').click();
  await jobs.getByText('stopped').waitFor();
  passed('a job was submitted, its log read and filtered, and it was stopped');
  await fold(panel, 'jobs');
  await fold(panel, 'logs');
  await panel.locator('[data-rayjup=log-file]').waitFor();
  assert.ok((await panel.locator('[data-rayjup=log-file] option').count()) > 2);
  passed('the logs of the nodes are listed');
  await fold(panel, 'logs');
}

async function paneOfItsOwn(lab, panel) {
  const { page } = lab;
  await panel.locator('[data-rayjup=open-timeline]').click();
  const pane = page.locator('#rayjup-pane-timeline');
  await lab.expectSoon('the timeline is drawn', async () => (await pane.locator('.rj-Timeline-scroll .rj-Timeline-span').count()) > 10);
  await lab.shot('timeline');
  // The workspace is saved a moment after it has changed.
  const saved = page.waitForResponse(answer => {
    const text = answer.request().postData() ?? '';
    return answer.request().method() === 'PUT' && /"nodes":\s*false/.test(text) && text.includes('rayjup-pane:timeline');
  });
  await panel.locator('[data-rayjup=fold-nodes]').click();
  await lab.theme('JupyterLab Dark');
  await lab.shot('timeline_dark');
  await lab.theme('JupyterLab Light');
  await saved;
  await page.reload();
  await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
  await lab.kernelIsIdle();
  const tab = page.locator('.lm-TabBar-tab').getByText('Timeline', { exact: true });
  await lab.expectSoon('the timeline is back', async () => {
    // The notebook that the address names comes to the front at last, maybe after the click.
    if (!(await pane.isVisible())) {
      await tab.click();
    }
    return (await pane.locator('.rj-Timeline-scroll .rj-Timeline-span').count()) > 10;
  });
  await lab.expectSoon('what was folded still is', async () =>
    (await panel.locator('[data-rayjup=fold-tasks]').getAttribute('aria-expanded')) === 'false' &&
    (await panel.locator('[data-rayjup=fold-nodes]').getAttribute('aria-expanded')) === 'true'
  );
  passed('a pane of its own and the folds come back when the page is loaded again');
}

async function attach(lab) {
  const { page } = lab;
  await page.locator('.lm-TabBar-tab').getByText(options.notebook).click();
  await lab.kernelIsIdle();
  await lab.notebook.locator('.rj-Attach button, button.rj-Attach, .rj-Attach').first().click();
  await page.locator('.lm-Menu-itemLabel').getByText(/^Connect This Notebook to/).click();
  await lab.notebook.locator('.jp-Cell').getByText(/%ray_init --address/).waitFor();
  await lab.kernelIsIdle();
  const errors = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]');
  assert.equal(await errors.count(), 0);
  passed('the button in the toolbar connects the notebook');
}

/** The server ends and another one begins: clusters live on, and the panel finds them again by itself. */
async function withAnotherServer(lab, panel) {
  const started = async () => {
    try {
      const answer = await fetch(`${options.url}/api/status?token=${options.token}`);
      return (await answer.json()).started;
    } catch {
      return null; // between the two
    }
  };
  const before = await started();
  await lab.letTheServerGo();
  console.log('restart the server');
  await panel.locator('[data-rayjup=reconnecting]').waitFor();
  passed('the panel says that the server is away');
  await lab.expectSoon('another server answers', async () => ![before, null].includes(await started()));
  await panel.locator('[data-rayjup=reconnecting]').waitFor({ state: 'detached' });
  await fold(panel, 'trials');
  const seen = async () => panel.locator('[data-rayjup=trials] .rj-Grid-row').first().innerText();
  await lab.expectSoon('trials are shown', async () => /running/.test(await seen()));
  const text = await seen();
  await lab.expectSoon('trials move again', async () => (await seen()) !== text);
  assert.equal(await panel.locator('[data-rayjup=cluster]').count(), 1);
  await fold(panel, 'trials');
  passed('the panel goes on with another server');
}

/** The head is killed while the panel looks: another takes over, and the numbers go on. */
async function withoutItsHead(lab, panel) {
  await fold(panel, 'trials');
  const seen = async () => panel.locator('[data-rayjup=trials] .rj-Grid-row').first().innerText();
  await lab.expectSoon('trials are shown', async () => /running/.test(await seen()));
  process.kill(Number(options.head), 'SIGKILL');
  await lab.page.waitForTimeout(1500);
  const before = await seen();
  await lab.expectSoon('trials move under the new head', async () => (await seen()) !== before);
  assert.equal(await panel.locator('[data-rayjup=cluster]').count(), 1);
  passed('the panel goes on when the head is killed');
}

async function dashboard(lab, panel) {
  const [tab] = await Promise.all([
    lab.page.waitForEvent('popup'),
    panel.locator('[data-rayjup=dashboard]').click()
  ]);
  await tab.locator('header a[aria-current=page]').waitFor();
  await tab.getByText('CPUs in use').first().waitFor();
  await tab.locator('header a').getByText('trials').click();
  await tab.getByText('of trial').waitFor();
  assert.match(tab.url(), /\/rayjup\/clusters\/[^/]+\/dashboard\/pages\/trials/);
  passed('the dashboard is alive behind the proxy');
  await tab.close();
}
