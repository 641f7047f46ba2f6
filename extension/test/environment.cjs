/** A page as jsdom makes it, and what browsers have besides. */

const { TestEnvironment } = require('jest-environment-jsdom');

module.exports = class PageEnvironment extends TestEnvironment {
  async setup() {
    await super.setup();
    Object.assign(this.global, {
      fetch,
      Request,
      Response,
      Headers,
      TextEncoder,
      TextDecoder,
      structuredClone,
      DragEvent: class DragEvent extends this.global.MouseEvent {},
      ResizeObserver: class ResizeObserver {
        // Nothing has a size here.
        observe() {}
        unobserve() {}
        disconnect() {}
      }
    });
    const { setTimeout: later, clearTimeout: never } = this.global;
    this.global.requestIdleCallback = call => later(() => call({ didTimeout: false, timeRemaining: () => 50 }), 0);
    this.global.cancelIdleCallback = never;
    this.global.matchMedia = () => ({ matches: false, addEventListener() {}, removeEventListener() {} });
  }
};
