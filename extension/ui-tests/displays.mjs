/**
 * The displays of a notebook in a real JupyterLab: every cell runs, shows what its first line asks for
 * (`# shows: text | text`), and still does after a reload of the page, and after the cluster was left and the
 * kernel has ended.
 *
 *   node ui-tests/displays.mjs --url http://127.0.0.1:8888 --token T --notebook displays.ipynb
 *        [--shots DIR] [--chromium FILE]
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
    chromium: { type: 'string', default: '/usr/bin/chromium' }
  }
});

await inBrowser(options, async lab => {
  await lab.open();
  const cells = lab.notebook.locator('.jp-CodeCell');
  await lab.notebook.locator('.jp-Cell').first().click();
  const count = (await cells.count()) - 1; // the last one shuts down: later
  const promised = [];
  for (let index = 0; index < count; index++) {
    promised.push(promises(await cells.nth(index).locator('.cm-line').first().innerText()));
    await lab.runActiveCell();
    const prompt = cells.nth(index).locator('.jp-InputPrompt');
    await lab.expectSoon(`cell ${index} has run`, async () => /\[\d+\]/.test(await prompt.innerText()));
    await lab.kernelIsIdle();
  }
  await everyCellShows(lab, promised, 'alive');
  await picturesOf(lab, cells, 'light');

  await lab.theme('JupyterLab Dark');
  await readableInTheDark(lab, cells);
  await picturesOf(lab, cells, 'dark');
  await lab.theme('JupyterLab Light');

  await save(lab);
  await lab.page.reload();
  await lab.page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
  await lab.kernelIsIdle();
  await everyCellShows(lab, promised, 'after a reload');

  // A page that was loaded anew cannot replace outputs of before: what is to be kept is made by this one.
  await lab.menu('Run', 'Run All Cells');
  await lab.expectSoon('the last cell has run', async () =>
    (await cells.nth(count).locator('.jp-OutputArea').innerText()).trim() !== '' && (await lab.isIdle())
  );
  await save(lab);
  await lab.menu('Kernel', 'Shut Down Kernel');
  await lab.page.reload();
  await lab.page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
  await everyCellShows(lab, promised, 'without its kernel');
  await lab.shot('without-kernel');
});

async function save(lab) {
  await lab.menu('File', 'Save Notebook');
  await lab.expectSoon('the notebook is saved', async () => (await lab.page.locator('.jp-mod-dirty').count()) === 0);
}

/** The texts that a cell with this first line promises to show. */
function promises(line) {
  const [, texts] = line.trim().split('# shows:');
  return texts ? texts.split('|').map(text => text.trim()) : [];
}

/** What the cells of the notebook promise is to be seen below them. */
async function everyCellShows(lab, promised, when) {
  const cells = lab.notebook.locator('.jp-CodeCell');
  await lab.expectSoon(`${when}, all cells are there`, async () => (await cells.count()) >= promised.length);
  for (const [index, texts] of promised.entries()) {
    const cell = cells.nth(index);
    await cell.scrollIntoViewIfNeeded();
    const errors = cell.locator('[data-mime-type="application/vnd.jupyter.error"]');
    assert.equal(await errors.count(), 0, `${when}, cell ${index} failed`);
    for (const text of texts) {
      await lab.expectSoon(`${when}, cell ${index} shows "${text}"`, async () =>
        (await cell.locator('.jp-OutputArea').first().innerText()).includes(text)
      );
    }
  }
  assert.ok(promised.flat().length > 10, `the notebook promises ${promised.flat().length} texts only`);
  passed(`${when}: ${promised.flat().length} texts are to be seen`);
}

/** Text and what is behind it differ in brightness, wherever a display writes something. */
async function readableInTheDark(lab, cells) {
  const poor = await cells.locator('.jp-OutputArea td, .jp-OutputArea th, .jp-OutputArea summary').evaluateAll(nodes => {
    const brightness = text => {
      const [r, g, b] = (text.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
      return (0.299 * r + 0.587 * g + 0.114 * b) / 255;
    };
    const behind = node => {
      for (let at = node; at; at = at.parentElement) {
        const color = getComputedStyle(at).backgroundColor;
        if (!/, 0\)$/.test(color) && color !== 'transparent') {
          return color;
        }
      }
      return 'rgb(17, 17, 17)';
    };
    return nodes
      .filter(node => node.innerText.trim())
      .filter(node => Math.abs(brightness(getComputedStyle(node).color) - brightness(behind(node))) < 0.25)
      .map(node => node.innerText.slice(0, 40));
  });
  assert.deepEqual(poor, [], 'text that can hardly be read in the dark theme');
  passed('everything can be read in the dark theme');
}

async function picturesOf(lab, cells, name) {
  const count = await cells.count();
  for (let index = 0; index < count; index += 3) {
    await cells.nth(index).evaluate(node => node.scrollIntoView({ block: 'start' }));
    await lab.shot(`${name}-${index}`);
  }
}
