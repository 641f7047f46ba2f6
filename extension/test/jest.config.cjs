/** Runs what rspack.config.cjs has built; nothing is transformed any more. */

const path = require('node:path');

const built = process.env.RAYJUP_TEST_BUILD ?? path.join(__dirname, '..', 'lib-test');

module.exports = {
  rootDir: built,
  testMatch: ['**/*.test.js'],
  testEnvironment: path.join(__dirname, 'environment.cjs'),
  cacheDirectory: path.join(built, '.cache'),
  maxWorkers: 1,
  testTimeout: 30_000,
  transform: {},
  watchman: false
};
