/**
 * What the panel costs a browser: time until it is painted, script per update, long tasks.
 *
 *   node ui-tests/speed.mjs --url http://127.0.0.1:8888 --token T [--seconds 10] [--chromium FILE]
 *
 * Prints one line of JSON.
 */

import { parseArgs } from 'node:util';

import { inBrowser } from './lab.mjs';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    token: { type: 'string' },
    seconds: { type: 'string', default: '10' },
    chromium: { type: 'string', default: '/usr/bin/chromium' }
  }
});

await inBrowser(options, async ({ page }) => {
  await page.goto(`${options.url}/lab?token=${options.token}&reset`);
  await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
  await page.locator('[data-rayjup=status]').waitFor();
  await page.waitForTimeout(3000);
  const painted = await page.evaluate(
    () =>
      new Promise(resolve => {
        const began = performance.now();
        const seen = () => {
          if (document.querySelector('#rayjup-panel [data-rayjup=actors] .rj-Grid-row')) {
            requestAnimationFrame(() => resolve(performance.now() - began));
          } else {
            requestAnimationFrame(seen);
          }
        };
        document.querySelector('[data-rayjup=status]').click();
        requestAnimationFrame(seen);
      })
  );
  await page.evaluate(() => {
    window.longTasks = [];
    new PerformanceObserver(list => window.longTasks.push(...list.getEntries().map(e => e.duration))).observe({
      entryTypes: ['longtask']
    });
  });
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const script = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find(metric => metric.name === 'ScriptDuration').value * 1000;
  };
  const before = await script();
  await page.waitForTimeout(Number(options.seconds) * 1000);
  const used = (await script()) - before;
  const rows = await page.locator('#rayjup-panel .rj-Grid-row').count();
  const long = await page.evaluate(() => window.longTasks);
  console.log(
    JSON.stringify({
      painted_ms: painted,
      script_ms: used / Number(options.seconds),
      long_tasks: long.length,
      longest_ms: Math.max(0, ...long),
      rows
    })
  );
});
