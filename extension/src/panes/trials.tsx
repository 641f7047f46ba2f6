import * as React from 'react';

import { useAction } from '../components/hooks';
import { Sparkline } from '../components/sparkline';
import { IColumn, VirtualTable } from '../components/virtualtable';
import { duration, number, settings } from '../format';
import { t } from '../text';
import type { IExperiment, ITrial } from '../types';
import { Document, Entry, IPaneProps, Problem, State, StopButton } from './common';

/** Experiments of Tune: the best so far, and a table of trials from which one can be stopped. */
export function TrialsPane(props: IPaneProps): JSX.Element {
  return (
    <Document model={props.model} topic="trials">
      {({ experiments }) =>
        experiments.length === 0 ? (
          <p className="rj-Hint">{t('No experiments yet. Tuner(…).fit() shows its trials here.')}</p>
        ) : (
          experiments.map((experiment, index) => (
            <Experiment
              key={experiment.run_id}
              {...props}
              experiment={experiment}
              open={index === 0 || experiment.ended === null}
            />
          ))
        )
      }
    </Document>
  );
}

function Experiment(props: IPaneProps & { experiment: IExperiment; open: boolean }): JSX.Element {
  const { experiment, model, cluster } = props;
  const action = useAction();
  const name = experiment.name ?? experiment.run_id;
  const running = experiment.ended === null;
  const done = (experiment.counts.TERMINATED ?? 0) + (experiment.counts.ERROR ?? 0);
  const metric = experiment.metric ?? 'result';
  const stop = (trial?: string): void =>
    action.run(() => model.api.stopRun(cluster.cluster_id, 'tune', experiment.run_id, trial));
  const columns: IColumn<ITrial>[] = [
    {
      key: 'trial',
      title: t('trial'),
      width: 'minmax(40px, 2fr)',
      value: trial => trial.trial_id,
      render: trial => settings(trial.config) || trial.trial_id,
      tooltip: trial => `${trial.trial_id}\n${settings(trial.config)}${trial.error ? `\n${trial.error}` : ''}`
    },
    {
      key: 'state',
      title: t('state'),
      width: '76px',
      value: trial => trial.status,
      render: trial => <State state={trial.status} />
    },
    {
      key: 'value',
      title: metric,
      width: '52px',
      number: true,
      value: trial => trial.metrics[metric],
      render: trial => number(trial.metrics[metric])
    },
    {
      key: 'curve',
      title: '',
      width: '68px',
      optional: true,
      render: trial => <Sparkline values={trial.curve} />
    },
    {
      key: 'iteration',
      title: t('iter'),
      width: '40px',
      number: true,
      optional: true,
      value: trial => trial.iteration
    },
    {
      key: 'stop',
      title: '',
      width: '22px',
      render: trial =>
        running && ['RUNNING', 'PENDING', 'PAUSED'].includes(trial.status) ? (
          <StopButton
            name="stop-trial"
            label={t('Stop trial %1', trial.trial_id)}
            disabled={action.busy}
            onClick={() => stop(trial.trial_id)}
          />
        ) : null
    }
  ];
  return (
    <Entry
      mark="experiment"
      name={name}
      tooltip={experiment.run_id}
      state={experiment.state}
      note={`${done} / ${experiment.total || '?'} · ${duration((experiment.ended ?? model.serverTime) - experiment.started)}`}
      open={props.open}
      buttons={
        running && (
          <StopButton
            name="stop-experiment"
            label={t('Stop all trials of %1', name)}
            disabled={action.busy}
            onClick={() => stop()}
          />
        )
      }
    >
      {experiment.best && (
        <p className="rj-Run-best" data-rayjup="best">
          {t('Best %1:', metric)} <strong>{number(experiment.best.value)}</strong>{' '}
          <span className="rj-mod-quiet">{settings(experiment.best.config ?? {})}</span>
        </p>
      )}
      <Problem text={action.error} />
      <VirtualTable
        label={t('Trials of %1', name)}
        name="trials"
        rows={experiment.trials}
        columns={columns}
        rowKey={trial => trial.trial_id}
        order={experiment.mode === 'max' ? '-value' : 'value'}
        isSelected={trial => trial.trial_id === experiment.best?.trial_id}
        maxHeight={props.maxHeight ?? 480}
      />
    </Entry>
  );
}
