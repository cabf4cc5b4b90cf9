-- What waits in a lane, the oldest first; also the shortest way from one lane to the next.
CREATE INDEX work_lane ON work (queue, state, lane, run_at);
