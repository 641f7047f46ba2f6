/**
 * The one websocket to the server: subscriptions that survive a lost line, reconnecting with
 * growing pauses, silence while nobody looks. Knows nothing of JupyterLab or of the page, so it
 * is tested without either.
 */

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
  onMessage: (message: LiveMessage) => void;
  onStatus: (status: LiveStatus) => void;
  /** Milliseconds; the clock and the timers can be replaced in tests. */
  now?: () => number;
  setTimer?: (call: () => void, ms: number) => any;
  clearTimer?: (timer: any) => void;
}

/** The server speaks at least every 10 s; a line silent for longer than this is dead. */
export const SILENCE_MS = 30_000;
const FIRST_PAUSE_MS = 1_000;
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

  /** Watch one cluster (or none), besides the list of clusters. */
  watch(cluster: string | null): void {
    if (cluster === this._watched) {
      return;
    }
    if (this._watched !== null) {
      this._send({ type: 'unsubscribe', topic: 'snapshot', cluster: this._watched });
    }
    this._watched = cluster;
    if (cluster !== null) {
      this._send({ type: 'subscribe', topic: 'snapshot', cluster });
    }
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
      if (this._watched !== null) {
        this._send({ type: 'subscribe', topic: 'snapshot', cluster: this._watched });
      }
      this._heard();
    };
    socket.onmessage = event => {
      this._attempt = 0;
      this._heard();
      this._options.onStatus({ state: 'live' });
      this._options.onMessage(JSON.parse(event.data));
    };
    socket.onclose = () => this._lost();
  }

  private _lost(): void {
    this._cancelWatch();
    this._drop();
    if (this._closed) {
      return;
    }
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this._attempt);
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
  private _watched: string | null = null;
  private _attempt = 0;
  private _retry: any = null;
  private _watchdog: any = null;
}
