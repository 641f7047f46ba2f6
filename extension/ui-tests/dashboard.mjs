/**
 * The dashboard's pages in a real browser, directly or behind a proxy.
 *
 *   node ui-tests/dashboard.mjs --url http://127.0.0.1:8265 --token T [--login PATH] [--shots DIR]
 *        [--dark] [--chromium FILE] [--pages overview,trials] [--experiment NAME]
 *
 * Opens every page, waits until it shows what it should, and looks for faults in the page. Prints what
 * it checked, one line each, and ends with status 1 at the first thing that is wrong.
 */

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';

import { inBrowser, passed } from './lab.mjs';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    token: { type: 'string' },
    login: { type: 'string', default: 'login' },
    shots: { type: 'string' },
    dark: { type: 'boolean', default: false },
    pages: { type: 'string', default: 'overview,nodes,tasks,objects,timeline,trials,training,deployments,jobs,logs' },
    experiment: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' }
  }
});

/** What each page shows once it is alive. */
const SHOWS = {
  overview: /CPUs in use/,
  nodes: /object store/,
  tasks: /Functions/,
  objects: /bytes/,
  timeline: /calls remembered/,
  trials: /Experiment/,
  training: /Run/,
  deployments: /deployment|Nothing is served/,
  jobs: /Submit/,
  logs: /of the last \d+ lines/
};

await inBrowser(options, async lab => {
  const { page } = lab;
  if (options.dark) {
    await page.emulateMedia({ colorScheme: 'dark' });
  }
  const foreign = [];
  const host = new URL(options.url).host;
  page.on('request', request => {
    const url = new URL(request.url());
    if (url.host !== host && !['data:', 'blob:'].includes(url.protocol)) {
      foreign.push(request.url());
    }
  });
  const open = async name => {
    await page.goto(`${options.url}/pages/${name}`);
    await page.locator('header a[aria-current=page]').waitFor();
  };

  if (options.login === 'login') {
    await page.goto(`${options.url}/pages/overview`);
    await page.getByText('wants to see its token').waitFor();
    passed('without the token there is nothing to see');
  }
  await page.goto(`${options.url}/${options.login}${options.login.includes('?') ? '&' : '?'}token=${options.token}`);
  for (const name of options.pages.split(',')) {
    await open(name);
    await lab.expectSoon(`${name} shows ${SHOWS[name]}`, async () => SHOWS[name].test(await shown(page)));
    if (options.shots) {
      await page.waitForTimeout(1500);
    }
    await lab.shot(`${options.dark ? 'dark_' : ''}${name}`);
    passed(`${name} is alive`);
  }
  if (options.experiment) {
    await open(`trials?run=${options.experiment}`);
    await lab.expectSoon('a link leads to its experiment', async () =>
      (await page.locator('select').first().inputValue()) === options.experiment
    );
    const before = await shown(page);
    await lab.expectSoon('trials move', async () => (await shown(page)) !== before);
    passed('a link leads to an experiment, whose numbers move');
  }
  assert.deepEqual(foreign, [], 'a page asked somebody else for something');
  passed('nothing came from elsewhere');
});

/** The text of the page with what is in shadow trees. */
async function shown(page) {
  return page.evaluate(() => {
    const parts = [];
    const walk = node => {
      if (node.nodeType === Node.TEXT_NODE) {
        parts.push(node.textContent);
      } else if (!['SCRIPT', 'STYLE'].includes(node.nodeName)) {
        (node.shadowRoot?.childNodes ?? []).forEach(walk);
        node.childNodes.forEach(walk);
      }
    };
    walk(document.body);
    return parts.join(' ').replace(/\s+/g, ' ');
  });
}
