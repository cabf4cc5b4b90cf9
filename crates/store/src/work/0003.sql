-- A lane is a key of an index, whose rows may not be long.
UPDATE work SET lane = substr(lane, 1, 550) WHERE length(lane) > 550;
