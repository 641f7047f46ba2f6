import { Dialog, showDialog } from '@jupyterlab/apputils';
import { closeIcon, launchIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { useAction } from '../components/hooks';
import { IconButton } from '../components/iconbutton';
import { count, millis, number } from '../format';
import { t } from '../text';
import type { IApplication, IDeployment } from '../types';
import { Document, Entry, IPaneProps, Problem, State } from './common';

/** What Serve serves: per deployment replicas, load, latencies and errors. */
export function DeploymentsPane(props: IPaneProps): JSX.Element {
  return (
    <Document model={props.model} topic="deployments">
      {({ applications }) =>
        applications.length === 0 ? (
          <p className="rj-Hint">{t('Nothing is served. serve.run(app) shows its deployments here.')}</p>
        ) : (
          applications.map(app => <Application key={app.name} {...props} app={app} />)
        )
      }
    </Document>
  );
}

function Application(props: IPaneProps & { app: IApplication }): JSX.Element {
  const { app, model, cluster } = props;
  const action = useAction();
  const remove = async (): Promise<void> => {
    const answer = await showDialog({
      title: t('Take “%1” down?', app.name),
      body: t('Its replicas end when the requests that run have been answered.'),
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: t('Take down') })]
    });
    if (answer.button.accept) {
      action.run(() => model.api.deleteApplication(cluster.cluster_id, app.name));
    }
  };
  return (
    <Entry
      mark="application"
      name={app.name}
      state={app.status}
      note={app.route_prefix ?? ''}
      open
      buttons={
        <>
          {app.route_prefix && (
            <IconButton
              icon={launchIcon}
              name="open-application"
              label={t('Open %1 in a new tab', app.name)}
              onClick={() => {
                window.open(model.api.application(cluster.cluster_id, app.route_prefix!), '_blank', 'noopener');
              }}
            />
          )}
          <IconButton
            icon={closeIcon}
            name="delete-application"
            label={t('Take %1 down…', app.name)}
            disabled={action.busy}
            onClick={() => void remove()}
          />
        </>
      }
    >
      <Problem text={action.error} />
      {app.message && <p className="rj-Hint">{app.message}</p>}
      {app.deployments.map(deployment => (
        <Deployment key={deployment.name} deployment={deployment} />
      ))}
    </Entry>
  );
}

function Deployment(props: { deployment: IDeployment }): JSX.Element {
  const { deployment } = props;
  const running = deployment.replica_states.RUNNING ?? 0;
  const facts: [string, string][] = [
    [t('replicas'), `${running} / ${deployment.target ?? running}`],
    [t('requests/s'), number(deployment.per_s ?? 0)],
    [t('p50'), millis(deployment.p50_ms ?? 0)],
    [t('p99'), millis(deployment.p99_ms ?? 0)],
    [t('errors'), count(deployment.errors ?? 0)],
    [t('waiting'), count(deployment.waiting ?? 0)]
  ];
  return (
    <div className="rj-Deployment" data-rayjup="deployment">
      <div className="rj-Deployment-head" title={deployment.message}>
        <span className="rj-Run-name">{deployment.name}</span>
        <State state={deployment.status} />
      </div>
      <dl className="rj-Facts">
        {facts.map(([name, value]) => (
          <div key={name} className={name === t('errors') && deployment.errors ? 'rj-mod-failed' : undefined}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
