"""What should happen next. Pure: no I/O, no clock, no logging; the same input gives the same plan.

next_step       plan_next: which of the questions below applies, in order
record          the job as it is stored: its spec, its status, and what is wrong with them
verdict         how a run ended, from what index 0 left behind
deadlines       which time limit was missed
next_run        when the next run may begin, and when a run is given up
leftovers       pods of earlier runs that nothing tells to go
suspension      taking the pods away and keeping what is committed
retention       what remains of a finished job, and for how long
current_run     a run that goes on: companions, number of workers, status
head            the first pod of a run, which leads it
troubles        what keeps pods from scoring, in words that say what to do
scene           why a job does not get on, as a value; what is looked at to find that out
obstacles       what keeps pods from starting
losses          pods that ran and do not any more
progress        a runner's report -> counters that never go back
consumption     what a job has used, all of its drivers together
bounds          what others say, cut to what a status can hold
conditions      the table of conditions, as Kubernetes' tools read them
status          a status from all of these; when it is worth writing
announcements   events that follow from a change of status
plan            the values that all of this returns
"""
