/** Names of the commands. */

export namespace CommandIDs {
  export const open = 'rayjup:open-panel';
  export const openPane = 'rayjup:open-pane';
  export const openDashboard = 'rayjup:open-dashboard';
  export const start = 'rayjup:start-cluster';
  export const restart = 'rayjup:restart-cluster';
  export const stop = 'rayjup:stop-cluster';
  export const stopAll = 'rayjup:stop-all-clusters';
  export const insertCell = 'rayjup:insert-join-cell';
  export const copyCode = 'rayjup:copy-join-code';
  export const copyAddress = 'rayjup:copy-address';
  export const attach = 'rayjup:attach-notebook';
}

export const PANEL_ID = 'rayjup-panel';
