/** Bundles the tests; there is no program for it, `@rspack/core` comes with JupyterLab's builder. */

const { rspack } = require('@rspack/core');

rspack(require('./rspack.config.cjs'), (error, stats) => {
  if (error || stats.hasErrors()) {
    console.error(error ?? stats.toString({ preset: 'errors-only' }));
    process.exitCode = 1;
  }
});
