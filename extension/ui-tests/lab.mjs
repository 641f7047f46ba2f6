/** What the browser tests share: a page in a running JupyterLab, waiting, pictures. */

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

import { chromium } from 'playwright-core';

const LAUNCH = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync'
];
export const WAIT_MS = 60_000;

/** Run `test(lab)` on a page; ends with status 1 when it throws, or the page has. */
export async function inBrowser(options, test) {
  const browser = await chromium.launch({ executablePath: options.chromium, args: LAUNCH });
  let page;
  try {
    page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
    page.setDefaultTimeout(WAIT_MS);
    const faults = [];
    page.on('pageerror', error => faults.push(error.message));
    await test(new Lab(page, options));
    assert.deepEqual(faults, [], 'the page threw errors');
    passed('no script error in the page');
  } catch (error) {
    if (page && options.shots) {
      await page.screenshot({ path: path.join(options.shots, 'failure.png') });
    }
    console.error(error);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

export class Lab {
  constructor(page, options) {
    this.page = page;
    this.options = options;
    this.notebook = page.locator('.jp-NotebookPanel:not(.lm-mod-hidden)');
  }

  /** Open the notebook; `reset` forgets what was open before. */
  async open(reset = true) {
    const { url, token, notebook } = this.options;
    await this.page.goto(`${url}/lab/tree/${notebook}?token=${token}${reset ? '&reset' : ''}`);
    await this.page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
    await this.kernelIsIdle();
  }

  async menu(...names) {
    const [first, ...rest] = names;
    await this.page.locator('.lm-MenuBar-itemLabel').getByText(first, { exact: true }).click();
    for (const name of rest.slice(0, -1)) {
      await this.page.locator('.lm-Menu-itemLabel').getByText(name, { exact: true }).hover();
    }
    await this.page.locator('.lm-Menu-itemLabel').getByText(rest.at(-1), { exact: true }).click();
  }

  async theme(name) {
    await this.menu('Settings', 'Theme', name);
    await this.page.locator(`body[data-jp-theme-name="${name}"]`).waitFor({ state: 'attached' });
    await this.page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
  }

  /** Shift+Enter, with the focus in the notebook. */
  async runActiveCell() {
    await this.notebook.locator('.jp-Cell.jp-mod-active').scrollIntoViewIfNeeded();
    await this.page.keyboard.press('Shift+Enter');
  }

  async kernelIsIdle() {
    await this.expectSoon('the kernel is idle', () => this.isIdle());
  }

  async isIdle() {
    // The notebook's own indicator also says so before there is a kernel.
    if (!(await this.page.locator('#jp-main-statusbar').innerText()).includes('| Idle')) {
      return false;
    }
    const indicator = this.notebook.locator('.jp-Notebook-ExecutionIndicator');
    const prompts = await this.page.locator('.jp-InputPrompt').allInnerTexts();
    return (await indicator.getAttribute('data-status')) === 'idle' && !prompts.some(p => p.includes('[*]'));
  }

  /**
   * JupyterLab says in a dialog, sooner or later and again and again, that the server is away. Have it closed
   * whenever it comes up, as a user would who has ticked that it shall not be shown again.
   */
  async letTheServerGo() {
    await this.page.evaluate(() => {
      const close = () => {
        for (const dialog of document.querySelectorAll('.jp-Dialog')) {
          if (dialog.querySelector('.jp-Dialog-header')?.textContent === 'Server Connection Error') {
            dialog.querySelector('input[type=checkbox]')?.click();
            dialog.querySelector('.jp-Dialog-button')?.click();
          }
        }
      };
      new MutationObserver(close).observe(document.body, { childList: true, subtree: true });
      close();
    });
  }

  async expectSoon(what, condition, within = WAIT_MS) {
    const deadline = Date.now() + within;
    while (!(await condition())) {
      if (Date.now() > deadline) {
        throw new Error(`not within ${within / 1000} s: ${what}`);
      }
      await this.page.waitForTimeout(100);
    }
  }

  async shot(name) {
    if (this.options.shots) {
      fs.mkdirSync(this.options.shots, { recursive: true });
      await this.page.screenshot({ path: path.join(this.options.shots, `${name}.png`) });
    }
  }
}

export function passed(what) {
  console.log(`ok: ${what}`);
}
