
-- What users tell a rotation to do: commands.
ALTER TABLE asks RENAME TO commands;
ALTER TABLE commands RENAME COLUMN ask TO command;
