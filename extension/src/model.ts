/** The state of the panel: what the server last said, and what the user chose. */

import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { ApiError, ClustersApi } from './api';
import { LiveConnection, LiveStatus } from './live';
import type { IClusterSummary, ISnapshot, IStartOptions, LiveMessage } from './types';

export interface IStartError {
  message: string;
  field: string | null;
}

export class PanelModel implements IDisposable {
  constructor(api: ClustersApi) {
    this._api = api;
    this._live = new LiveConnection({
      connect: () => api.openLive(),
      onMessage: message => this._onMessage(message),
      onStatus: status => this._onStatus(status)
    });
  }

  /** Something changed; the panel is drawn anew. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  clusters: IClusterSummary[] = [];
  /** Names (null: not chosen by the user) of clusters that are coming up, from any tab. */
  starting: (string | null)[] = [];
  /** False until the list has come for the first time. */
  loaded = false;
  status: LiveStatus = { state: 'connecting' };
  /** Why there is no connection, when the server can be asked and says so. */
  problem: string | null = null;
  snapshot: ISnapshot | null = null;
  snapshotError: string | null = null;
  startError: IStartError | null = null;
  optionsOpen = false;

  get selected(): IClusterSummary | null {
    return this.clusters.find(c => c.cluster_id === this._selected) ?? null;
  }

  /** The server's clock, in seconds since the epoch. */
  get serverTime(): number {
    return Date.now() / 1000 + this._clockOffset;
  }

  /** A cluster is coming up, and this tab asked for it. */
  get busy(): boolean {
    return this._startsHere > 0;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    this._live.close();
    Signal.clearData(this);
  }

  setVisible(visible: boolean): void {
    this._live.setVisible(visible);
    if (visible) {
      this._live.open();
    }
  }

  retry(): void {
    this._live.open();
  }

  select(clusterId: string | null): void {
    if (clusterId !== this._selected) {
      this._selected = clusterId;
      this.snapshot = null;
      this.snapshotError = null;
      this._live.watch(clusterId);
      this._emit();
    }
  }

  toggleOptions(): void {
    this.optionsOpen = !this.optionsOpen;
    this.startError = null;
    this._emit();
  }

  dismissError(): void {
    this.startError = null;
    this._emit();
  }

  /** Start a cluster and show it; false (and `startError`) when it did not come up. */
  async start(options: IStartOptions): Promise<boolean> {
    this._startsHere += 1;
    this.startError = null;
    this._emit();
    try {
      const started = await this._api.start(options);
      if (!this.clusters.some(c => c.cluster_id === started.cluster_id)) {
        this.clusters = [...this.clusters, started];
      }
      this.loaded = true;
      this.optionsOpen = false;
      this.select(started.cluster_id);
      return true;
    } catch (error) {
      this.startError =
        error instanceof ApiError
          ? { message: error.message, field: error.field }
          : { message: String(error), field: null };
      return false;
    } finally {
      this._startsHere -= 1;
      this._emit();
    }
  }

  async stop(clusterId: string): Promise<void> {
    this._mark(clusterId);
    await this._api.stop(clusterId).catch((error: unknown) => {
      // Somebody else stopped it first: that is what was wanted.
      if (!(error instanceof ApiError && error.status === 404)) {
        throw error;
      }
    });
    this._setClusters(this.clusters.filter(c => c.cluster_id !== clusterId));
    this._emit();
  }

  async stopAll(): Promise<void> {
    this.clusters.forEach(c => this._mark(c.cluster_id));
    await this._api.stopAll();
    this._setClusters([]);
    this._emit();
  }

  private _mark(clusterId: string): void {
    this.clusters = this.clusters.map(c =>
      c.cluster_id === clusterId ? { ...c, state: 'stopping' as const } : c
    );
    this._emit();
  }

  private _onMessage(message: LiveMessage): void {
    switch (message.type) {
      case 'clusters':
        this.loaded = true;
        this.starting = message.starting;
        this._clockOffset = message.time - Date.now() / 1000;
        this._setClusters(message.clusters);
        break;
      case 'snapshot':
        if (message.cluster === this._selected) {
          this.snapshot = message.snapshot;
          this.snapshotError = null;
        }
        break;
      case 'unreachable':
        if (message.cluster === this._selected) {
          this.snapshotError = message.reason ?? 'it does not answer';
        }
        break;
      case 'gone':
        this._setClusters(this.clusters.filter(c => c.cluster_id !== message.cluster));
        break;
      case 'error':
        console.warn(`rayjup: the server refused a message: ${message.message}`);
        break;
    }
    this._emit();
  }

  /** Take over a list; one cluster is always shown if there is any. */
  private _setClusters(clusters: IClusterSummary[]): void {
    this.clusters = clusters;
    if (!this.selected) {
      this.select(clusters.length ? clusters[clusters.length - 1].cluster_id : null);
    }
  }

  private _onStatus(status: LiveStatus): void {
    if (status.state === 'live' && this.status.state === 'live') {
      return;
    }
    this.status = status;
    if (status.state === 'live') {
      this.problem = null;
    } else if (status.state === 'reconnecting') {
      void this._findProblem();
    }
    this._emit();
  }

  /** A browser does not tell why a websocket was refused; a plain request does. */
  private async _findProblem(): Promise<void> {
    try {
      await this._api.list();
      this.problem = null;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this._emit();
  }

  private _emit(): void {
    if (!this._isDisposed) {
      this._changed.emit(undefined);
    }
  }

  private _api: ClustersApi;
  private _live: LiveConnection;
  private _changed = new Signal<this, void>(this);
  private _selected: string | null = null;
  private _clockOffset = 0;
  private _startsHere = 0;
  private _isDisposed = false;
}
