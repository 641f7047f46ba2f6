/**
 * The one websocket to the server: subscriptions that survive a lost line, reconnecting with
 * growing pauses, silence while nobody looks. Knows nothing of JupyterLab or of the page, so it
 * is tested without either.
 */

import { applied } from './changes';
import type { LiveMessage } from './types';

export type LiveStatus =
  | { state: 'connecting' }
  | { state: 'live' }
  | { state: 'reconnecting'; attempt: number; retryAt: number };

/** The part of a browser's WebSocket that is used. */
export interface ISocket {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface ILiveOptions {
  connect: () => ISocket;
  /** What is not about a document. */
  onMessage: (message: LiveMessage) => void;
  /** The newest version of a document that somebody subscribed to. */
  onDocument: (topic: string, cluster: string, document: any) => void;
  onStatus: (status: LiveStatus) => void;
  /** Milliseconds; the clock and the timers can be replaced in tests. */
  now?: () => number;
  setTimer?: (call: () => void, ms: number) => any;
  clearTimer?: (timer: any) => void;
}

/** The server speaks at least every 10 s; a line silent for longer than this is dead. */
export const SILENCE_MS = 30_000;
/** A server that is only started anew is away for some seconds. */
const FIRST_PAUSE_MS = 1_000;
const GROWTH = 1.5;
const LONGEST_PAUSE_MS = 15_000;

export class LiveConnection {
  constructor(options: ILiveOptions) {
    this._options = options;
    this._now = options.now ?? (() => Date.now());
    this._setTimer = options.setTimer ?? ((call, ms) => setTimeout(call, ms));
    this._clearTimer = options.clearTimer ?? (timer => clearTimeout(timer));
  }

  /** Connect, and stay connected until `close`. */
  open(): void {
    if (!this._socket && !this._closed) {
      this._cancelRetry();
      this._connect();
    }
  }

  /** Stop for good. */
  close(): void {
    this._closed = true;
    this._cancelRetry();
    this._cancelWatch();
    this._drop();
  }

  /** Have a document of a cluster sent until the returned function is called. */
  subscribe(topic: string, cluster: string): () => void {
    const key = `${topic} ${cluster}`;
    const count = this._wanted.get(key) ?? 0;
    this._wanted.set(key, count + 1);
    if (count === 0) {
      this._send({ type: 'subscribe', topic, cluster });
    }
    let released = false;
    return () => {
      if (released) {
        return;
      }
      released = true;
      const left = (this._wanted.get(key) ?? 1) - 1;
      if (left > 0) {
        this._wanted.set(key, left);
        return;
      }
      this._wanted.delete(key);
      this._documents.delete(key);
      this._send({ type: 'unsubscribe', topic, cluster });
    };
  }

  /** Tell the server to be quiet while nobody can see the panel. */
  setVisible(visible: boolean): void {
    if (visible === this._visible) {
      return;
    }
    this._visible = visible;
    this._send({ type: visible ? 'resume' : 'pause' });
    if (visible) {
      this._heard();
      this.open();
    } else {
      this._cancelWatch();
    }
  }

  private _connect(): void {
    if (this._attempt === 0) {
      this._options.onStatus({ state: 'connecting' });
    }
    const socket = this._options.connect();
    this._socket = socket;
    socket.onopen = () => {
      this._isOpen = true;
      if (!this._visible) {
        this._send({ type: 'pause' });
      }
      this._send({ type: 'subscribe', topic: 'clusters' });
      for (const key of this._wanted.keys()) {
        const [topic, cluster] = key.split(' ');
        this._send({ type: 'subscribe', topic, cluster });
      }
      this._heard();
    };
    socket.onmessage = event => {
      this._attempt = 0;
      this._heard();
      this._options.onStatus({ state: 'live' });
      this._take(JSON.parse(event.data));
    };
    socket.onclose = () => this._lost();
  }

  private _take(message: LiveMessage): void {
    if (message.type !== 'whole' && message.type !== 'change') {
      this._options.onMessage(message);
      return;
    }
    const { topic, cluster, version } = message;
    const key = `${topic} ${cluster}`;
    if (!this._wanted.has(key)) {
      return;
    }
    let value: any;
    if (message.type === 'whole') {
      value = message.document;
    } else {
      const known = this._documents.get(key);
      if (known?.version !== message.from) {
        // It cannot be used; the server is asked for the whole.
        this._documents.delete(key);
        this._send({ type: 'subscribe', topic, cluster });
        return;
      }
      value = applied(known.value, message.change);
    }
    this._documents.set(key, { version, value });
    this._options.onDocument(topic, cluster, value);
  }

  private _lost(): void {
    this._cancelWatch();
    this._drop();
    if (this._closed) {
      return;
    }
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * GROWTH ** this._attempt);
    this._attempt += 1;
    this._options.onStatus({
      state: 'reconnecting',
      attempt: this._attempt,
      retryAt: this._now() + pause
    });
    this._retry = this._setTimer(() => {
      this._retry = null;
      this._connect();
    }, pause);
  }

  /** Note a sign of life, and wait for the next one as long as somebody looks. */
  private _heard(): void {
    this._cancelWatch();
    if (this._isOpen && this._visible) {
      this._watchdog = this._setTimer(() => this._lost(), SILENCE_MS);
    }
  }

  private _drop(): void {
    const socket = this._socket;
    this._socket = null;
    this._isOpen = false;
    this._documents.clear();
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  private _send(message: object): void {
    if (this._socket && this._isOpen) {
      this._socket.send(JSON.stringify(message));
    }
  }

  private _cancelRetry(): void {
    if (this._retry !== null) {
      this._clearTimer(this._retry);
      this._retry = null;
    }
  }

  private _cancelWatch(): void {
    if (this._watchdog !== null) {
      this._clearTimer(this._watchdog);
      this._watchdog = null;
    }
  }

  private _options: ILiveOptions;
  private _now: () => number;
  private _setTimer: (call: () => void, ms: number) => any;
  private _clearTimer: (timer: any) => void;
  private _socket: ISocket | null = null;
  private _isOpen = false;
  private _closed = false;
  private _visible = true;
  private _wanted = new Map<string, number>();
  private _documents = new Map<string, { version: number; value: any }>();
  private _attempt = 0;
  private _retry: any = null;
  private _watchdog: any = null;
}
