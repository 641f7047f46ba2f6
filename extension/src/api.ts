/** The REST side of the server extension. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { IClusterSummary, IStartOptions } from './types';

/** A refusal of the server, with its text and, for a bad request, the field at fault. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly field: string | null = null
  ) {
    super(message);
  }
}

export class ClustersApi {
  constructor(settings: ServerConnection.ISettings) {
    this._settings = settings;
  }

  async list(): Promise<IClusterSummary[]> {
    return (await this._request('GET', '')).clusters;
  }

  async start(options: IStartOptions): Promise<IClusterSummary> {
    return this._request('POST', '', options);
  }

  async stop(clusterId: string): Promise<void> {
    await this._request('DELETE', `/${encodeURIComponent(clusterId)}`);
  }

  async stopAll(): Promise<void> {
    await this._request('DELETE', '');
  }

  /** A new websocket to the live endpoint, authenticated as JupyterLab's own are. */
  openLive(): WebSocket {
    const { wsUrl, token, appendToken, WebSocket: Socket } = this._settings;
    let url = URLExt.join(wsUrl, 'rayjup', 'live');
    if (appendToken && token !== '') {
      url += `?token=${encodeURIComponent(token)}`;
    }
    return new Socket(url);
  }

  private async _request(method: string, path: string, body?: object): Promise<any> {
    const url = URLExt.join(this._settings.baseUrl, 'rayjup', 'clusters') + path;
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(
        url,
        { method, body: body === undefined ? undefined : JSON.stringify(body) },
        this._settings
      );
    } catch (error) {
      throw new ApiError('The Jupyter server cannot be reached.', 0);
    }
    const text = await response.text();
    const data = parse(text);
    if (!response.ok) {
      throw new ApiError(reason(response.status, data?.message), response.status, data?.field ?? null);
    }
    return data;
  }

  private _settings: ServerConnection.ISettings;
}

function parse(text: string): any {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    // A proxy in between answers with HTML; the status tells enough.
    return null;
  }
}

function reason(status: number, message: string | undefined): string {
  if (status === 401 || status === 403) {
    return 'You are not logged in to the Jupyter server any more. Reload the page and log in.';
  }
  if (status === 404 && !message?.includes('cluster')) {
    return 'The server extension rayjup_lab is not running. Install rayjup where the Jupyter server runs, then restart the server.';
  }
  return message || `The Jupyter server answered with status ${status}.`;
}
