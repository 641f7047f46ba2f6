import { closeIcon, stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { useAction } from '../components/hooks';
import { IconButton } from '../components/iconbutton';
import { IColumn, VirtualTable } from '../components/virtualtable';
import { duration } from '../format';
import { t } from '../text';
import type { IJob } from '../types';
import { Document, IPaneProps, Problem, State } from './common';
import { LogText } from './logs';

/** Submitted jobs and connected drivers; a line to submit a program; the log of the chosen job. */
export function JobsPane(props: IPaneProps): JSX.Element {
  const { model, cluster } = props;
  const action = useAction();
  const [entrypoint, setEntrypoint] = React.useState('');
  const [chosen, setChosen] = React.useState<string | null>(null);
  const id = cluster.cluster_id;
  const submit = (event: React.FormEvent): void => {
    event.preventDefault();
    action.run(async () => {
      setChosen(await model.api.submit(id, { entrypoint }));
      setEntrypoint('');
    });
  };
  const columns: IColumn<IJob>[] = [
    {
      key: 'entrypoint',
      title: t('program'),
      width: 'minmax(48px, 1fr)',
      value: job => job.entrypoint,
      tooltip: job => [job.id, job.entrypoint, job.message].filter(Boolean).join('\n')
    },
    {
      key: 'status',
      title: t('state'),
      width: '84px',
      value: job => job.status,
      render: job => <State state={job.status} />
    },
    {
      key: 'time',
      title: t('time'),
      width: '60px',
      number: true,
      optional: true,
      value: job => (job.end_time ?? model.serverTime * 1000) - job.start_time,
      render: job => duration(((job.end_time ?? model.serverTime * 1000) - job.start_time) / 1000)
    },
    {
      key: 'do',
      title: '',
      width: '22px',
      render: job => {
        if (!job.submission_id) {
          return null;
        }
        const ended = ['SUCCEEDED', 'FAILED', 'STOPPED'].includes(job.status);
        return (
          <IconButton
            icon={ended ? closeIcon : stopIcon}
            name={ended ? 'delete-job' : 'stop-job'}
            label={ended ? t('Forget job %1 and its log', job.id) : t('Stop job %1', job.id)}
            disabled={action.busy}
            onClick={() =>
              action.run(() =>
                ended ? model.api.deleteJob(id, job.submission_id!) : model.api.stopJob(id, job.submission_id!)
              )
            }
          />
        );
      }
    }
  ];
  return (
    <>
      <form className="rj-Line" onSubmit={submit} aria-label={t('Submit a job')}>
        <input
          name="entrypoint"
          value={entrypoint}
          aria-label={t('Command line of the program')}
          placeholder="python program.py"
          spellCheck={false}
          onChange={event => setEntrypoint(event.target.value)}
        />
        <button className="rj-Button" data-rayjup="submit-job" disabled={action.busy || !entrypoint.trim()}>
          {t('Submit')}
        </button>
      </form>
      <Problem text={action.error} />
      <Document model={model} topic="jobs">
        {({ jobs }) =>
          jobs.length === 0 ? (
            <p className="rj-Hint">{t('No jobs yet. Programs that join the cluster are listed here, too.')}</p>
          ) : (
            <>
              <VirtualTable
                label={t('Jobs')}
                name="jobs"
                rows={jobs}
                columns={columns}
                rowKey={job => job.id}
                isSelected={job => job.id === chosen}
                onOpen={job => setChosen(job.submission_id ? job.id : null)}
                maxHeight={props.maxHeight ?? 360}
              />
              {chosen && jobs.some(job => job.id === chosen) && <JobLog {...props} job={chosen} />}
            </>
          )
        }
      </Document>
    </>
  );
}

function JobLog(props: IPaneProps & { job: string }): JSX.Element {
  return (
    <Document model={props.model} topic="logs">
      {({ nodes }) => {
        const name = `job-driver-${props.job}.log`;
        const node = nodes.find(one => one.files.includes(name));
        return node ? (
          <LogText key={name} model={props.model} cluster={props.cluster} node={node.node_id} name={name} />
        ) : (
          <p className="rj-Hint">{t('It has not printed anything yet.')}</p>
        );
      }}
    </Document>
  );
}
