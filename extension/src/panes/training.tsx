import * as React from 'react';

import { useAction } from '../components/hooks';
import { Sparkline } from '../components/sparkline';
import { duration, number } from '../format';
import { t, tn } from '../text';
import type { ITrainingRun } from '../types';
import { Document, Entry, IPaneProps, Problem, State, StopButton } from './common';

const COUNTERS = /^(training_iteration|timestamp|epoch|step|pid)$|^time_/;

/** Training runs and algorithms that learn: workers, newest metrics and their course. */
export function TrainingPane(props: IPaneProps): JSX.Element {
  return (
    <Document model={props.model} topic="training">
      {({ runs }) =>
        runs.length === 0 ? (
          <p className="rj-Hint">{t('No training runs yet. TorchTrainer(…).fit() shows its run here.')}</p>
        ) : (
          runs.map((run, index) => <Run key={run.run_id} {...props} run={run} open={index < 3} />)
        )
      }
    </Document>
  );
}

function Run(props: IPaneProps & { run: ITrainingRun; open: boolean }): JSX.Element {
  const { run, model, cluster } = props;
  const action = useAction();
  const name = run.name ?? run.run_id;
  const metrics = Object.entries(run.metrics ?? {}).filter(
    ([name, value]) => typeof value === 'number' && !COUNTERS.test(name)
  );
  const workers = run.workers ?? [];
  return (
    <Entry
      mark="training-run"
      name={name}
      tooltip={run.run_id}
      state={run.state}
      note={duration((run.ended ?? model.serverTime) - run.started)}
      open={props.open}
      buttons={
        run.ended === null && (
          <StopButton
            name="stop-run"
            label={t('Stop %1', name)}
            disabled={action.busy}
            onClick={() => action.run(() => model.api.stopRun(cluster.cluster_id, run.kind, run.run_id))}
          />
        )
      }
    >
      <Problem text={action.error} />
      <p className="rj-Run-best">
        {run.iteration !== undefined && tn('%1 report', '%1 reports', run.iteration)}
        {workers.length > 0 && ` · ${tn('%1 worker', '%1 workers', workers.length)}`}
        {!!run.failures && ` · ${tn('%1 failure', '%1 failures', run.failures)}`}
        {!!run.checkpoints?.length && ` · ${tn('%1 checkpoint', '%1 checkpoints', run.checkpoints.length)}`}
      </p>
      {metrics.length > 0 && (
        <table className="rj-Table" data-rayjup="metrics">
          <tbody>
            {metrics.slice(0, 12).map(([name, value]) => (
              <tr key={name}>
                <td className="rj-Table-name" title={name}>
                  {name}
                </td>
                <td className="rj-Table-spark">
                  <Sparkline values={(run.history ?? []).map(point => point[name])} />
                </td>
                <td className="rj-mod-number">{number(value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {workers.length > 0 && (
        <ul className="rj-Workers" aria-label={t('Workers')}>
          {workers.map(worker => (
            <li key={worker.rank} title={`${worker.host}\npid ${worker.pid}`}>
              {t('rank %1', worker.rank)} <State state={worker.state} />
              {worker.gpus.length > 0 && ` · GPU ${worker.gpus.join(', ')}`}
            </li>
          ))}
        </ul>
      )}
      {run.note && <pre className="rj-Note">{run.note}</pre>}
    </Entry>
  );
}
