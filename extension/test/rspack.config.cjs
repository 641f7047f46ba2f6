/** The tests with all they use, JupyterLab's own parts included: one file each, which jest runs as it is. */

const fs = require('node:fs');
const path = require('node:path');

const tests = fs.readdirSync(__dirname).filter(name => /\.test\.tsx?$/.test(name));

module.exports = {
  mode: 'none',
  target: ['web', 'es2022'],
  entry: Object.fromEntries(tests.map(name => [name.replace(/\.tsx?$/, ''), path.join(__dirname, name)])),
  output: {
    path: process.env.RAYJUP_TEST_BUILD ?? path.join(__dirname, '..', 'lib-test'),
    library: { type: 'commonjs2' },
    clean: true
  },
  externalsType: 'commonjs',
  externals: [/^node:/, '@jest/globals'],
  resolve: { extensions: ['.tsx', '.ts', '.mjs', '.js'] },
  module: {
    rules: [
      {
        test: /\.tsx?$/,
        loader: 'builtin:swc-loader',
        options: { jsc: { parser: { syntax: 'typescript', tsx: true }, target: 'es2022' } }
      },
      { test: /\.m?js$/, resolve: { fullySpecified: false } },
      { test: /\.svg$/, type: 'asset/source' },
      { test: /\.(css|woff2?|ttf|eot|png)$/, type: 'asset/inline' }
    ]
  },
  // JupyterLab's parts name optional ones of their own.
  ignoreWarnings: [/./]
};
