"""The bugs that `make planted-bugs` plants: what a careless colleague would do, and which test must notice.

Each is one small edit. Where the code changes, the text here follows; where a bug is found in the wild, it is added.
Not here: planting them (planted.py).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """`text`, once in `file`, becomes `instead`. `caught_by`: the least that must fail, as pytest names it."""

    name: str
    file: str
    text: str
    instead: str
    caught_by: str


BUGS = [
    # --- paging and what it proves
    Bug(
        "take a page for the next one wherever it begins",
        "pipelines/passes.py",
        "if at > 0 and not seen.joins(rows):",
        "if False:",
        "tests/test_walk.py::test_no_schedule_of_two_changes_on_a_few_rows_loses_a_share",
    ),
    Bug(
        "ask for the next page behind the last row, without one to hold on to",
        "pipelines/passes.py",
        "seen.offset = at + min(order.overlap(rows) for order in seen.edges)",
        "seen.offset = at + len(rows)",
        "tests/test_walk.py::test_a_quiet_listing_costs_at_most_three_requests_more_than_the_naive_loop",
    ),
    Bug(
        "take the last group of equal keys on a page for whole",
        "pipelines/rows.py",
        "return (self._keys(rows)[-1], 0 if self.ties else 1)",
        "return (self._keys(rows)[-1], 1)",
        "tests/test_walk.py::test_no_schedule_of_two_changes_on_a_few_rows_loses_a_share",
    ),
    Bug(
        "let the top of the list end one row short of what is known",
        "pipelines/passes.py",
        "return all(order.reaches_down_to(readable) <= edge for order, edge in self.edges.items())",
        "return True",
        "tests/test_walk.py::test_no_schedule_of_two_changes_on_a_few_rows_loses_a_share",
    ),
    Bug(
        "take a short page for the last one",
        "pipelines/passes.py",
        "if (not moved or (not ahead.left and seen.may_be_the_end(rows))) and _is_at_the_top(seen, rows):",
        "if len(rows) < seen.service.limit or (not moved and _is_at_the_top(seen, rows)):",
        "tests/test_extract.py::test_a_service_that_gives_less_than_asked_for_is_read_to_its_end",
    ),
    Bug(
        "believe that the service keeps to the limit",
        "pipelines/passes.py",
        "if len(rows) > limit:",
        "if False:",
        "tests/test_walk.py::test_a_page_longer_than_asked_is_named",
    ),
    Bug(
        "hold on to an order that a page contradicts",
        "pipelines/passes.py",
        "self.edges = {order: edge for order, edge in self.edges.items() if order.agrees(readable)}",
        "self.edges = {order: edge for order, edge in self.edges.items() if readable or edge}",
        "tests/test_walk.py::test_ten_recipients_among_others_with_ties_redrawn_are_proven",
    ),
    Bug(
        "believe that the service turns the list around when asked",
        "pipelines/passes.py",
        "if not readable or not all(order.agrees(readable, descending=True) for order in self.edges):",
        "if not readable:",
        "tests/test_walk.py::test_the_first_page_is_not_taken_for_the_top_of_a_list_that_ignores_sort_dir_and_has_no_count",
    ),
    Bug(
        "call a listing covered although the service counts more shares",
        "pipelines/walk.py",
        "if 0 <= uncounted <= last.unreadable:",
        "if uncounted >= 0:",
        "tests/test_walk.py::test_a_quiet_list_that_hides_rows_which_the_count_includes_is_incomplete",
    ),
    Bug(
        "believe an empty answer between two full ones",
        "pipelines/walk.py",
        "if len(before & after) == counts[instant] and (counts[instant] or not before | after):",
        "if len(before & after) == counts[instant]:",
        "tests/test_walk.py::test_an_empty_answer_between_two_full_ones_is_no_certificate",
    ),
    # --- requests
    Bug(
        "let the error of the library hang on ours, with the request and its token",
        "pipelines/client.py",
        "failure = self._no_answer(error, progress.deadline_at)",
        "raise self._no_answer(error, progress.deadline_at) from error",
        "tests/test_requests.py::test_no_error_keeps_that_of_the_library_with_its_request",
    ),
    Bug(
        "quote what the service says as it is, though it quotes the token",
        "pipelines/answers.py",
        'text = _spelt(secret).sub("[secret]", text)',
        "pass",
        "tests/test_client.py::test_a_token_that_the_service_quotes_is_not_repeated_in_the_message",
    ),
    Bug(
        "show the token in the repr of its source",
        "pipelines/auth.py",
        'return "StaticToken(...)"',
        'return f"StaticToken({self._value})"',
        "tests/test_auth.py::test_a_static_token_does_not_show_itself",
    ),
    Bug(
        "take any success for an answer, not only 200",
        "pipelines/client.py",
        "if answer.status != 200:",
        "if not 200 <= answer.status < 300:",
        "tests/test_client.py::test_every_other_status_is_final",
    ),
    Bug(
        "take a missing count for zero",
        "pipelines/client.py",
        "            if error.status == 404:\n                return None",
        "            if error.status == 404:\n                return 0",
        "tests/test_client.py::test_a_cloud_without_the_count_endpoint_has_no_count",
    ),
    Bug(
        "log in again as often as a token is refused",
        "pipelines/login.py",
        "self._renewed.add(project_id)",
        "pass",
        "tests/test_login.py::test_a_refused_token_is_renewed_once_and_then_there_is_none",
    ),
    Bug(
        "repeat what fails for good",
        "pipelines/answers.py",
        "    if status in TRANSIENT:\n        return TransientApiError(",
        "    if status >= 400:\n        return TransientApiError(",
        "tests/test_client.py::test_every_other_status_is_final",
    ),
    Bug(
        "let one project use up the repeats of all",
        "pipelines/traffic.py",
        "if own >= (budget - others) / 2:",
        "if own >= budget - others:",
        "tests/test_traffic.py::test_a_small_run_may_repeat_ten_requests_and_one_project_half_of_them",
    ),
    Bug(
        "read Retry-After with isdigit, which takes any script's digits",
        "pipelines/traffic.py",
        'if re.fullmatch(r"[0-9]{1,20}", value):',
        "if value.isdigit():",
        "tests/test_traffic.py::test_no_retry_after_is_more_than_digits_or_a_date",
    ),
    Bug(
        "compare the owner of a share in any case",
        "pipelines/answers.py",
        "if isinstance(owner, str) and owner != listing.project_id:",
        "if isinstance(owner, str) and owner.strip().lower() != listing.project_id:",
        "tests/test_client.py::test_an_owner_that_is_not_exactly_the_project_is_another_one",
    ),
    Bug(
        "send the token over plain http",
        "pipelines/settings.py",
        'if parts.scheme == "http" and host not in LOOPBACK_HOSTS:',
        "if False:",
        "tests/test_settings.py::test_http_is_refused_because_of_the_token",
    ),
    # --- key material
    Bug(
        "land pages as received, key material and all",
        "pipelines/client.py",
        "body = blank_key_material(without_mark(answer.body))",
        "body = without_mark(answer.body)",
        "tests/test_client.py::test_the_key_material_of_no_listing_is_in_a_page",
    ),
    Bug(
        "empty VK in its plain spelling only",
        "pipelines/redact.py",
        "        if found[1] is None:\n            return None",
        "        if found[1] is None:\n            continue",
        "tests/test_redact.py::test_no_spelling_lets_the_key_through",
    ),
    Bug(
        "keep text that names VK and is no JSON",
        "pipelines/redact.py",
        "return _WITHHELD if suspicious else literal",
        "return literal",
        "tests/test_redact.py::test_text_that_holds_a_key_and_cannot_be_read_is_withheld",
    ),
    # --- landing
    Bug(
        "rename a landing file that was not flushed to the disk",
        "pipelines/landing.py",
        "        self._file.flush()\n        os.fsync(self._file.fileno())\n",
        "        self._file.flush()\n",
        "tests/test_landing.py::test_a_disk_that_fails_at_the_commit_leaves_nothing",
    ),
    Bug(
        "rename a landing file before its footer is written",
        "pipelines/landing.py",
        "        self._parquet.close()\n        self._file.flush()\n",
        "        self._aside.rename(final)\n        self._aside = final\n"
        "        self._parquet.close()\n        self._file.flush()\n",
        "tests/test_crash.py::test_a_death_at_any_statement_or_file_operation_leaves_a_whole_state_and_needs_no_hands",
    ),
    Bug(
        "let everybody read what is landed",
        "pipelines/landing.py",
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)",
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)",
        "tests/test_landing.py::test_only_the_owner_may_read_files_and_folders",
    ),
    Bug(
        "take any folder of the landing for a project",
        "pipelines/landing.py",
        "or not re.fullmatch(PROJECT_ID, parts[1]) or",
        "or",
        "tests/test_landing.py::test_files_that_the_landing_did_not_write_are_ignored",
    ),
    Bug(
        "believe a proof whose digest is another",
        "pipelines/landing.py",
        "if footer[_DIGEST_KEY] != _digest(footer[_FOOTER_KEY]):",
        "if _DIGEST_KEY not in footer:",
        "tests/test_landing.py::test_another_digit_or_letter_in_the_proof_is_noticed",
    ),
    Bug(
        "read pages without their checksums",
        "pipelines/landing.py",
        "page_checksum_verification=True) as parquet:\n"
        "            for group in range(parquet.num_row_groups):\n                pages",
        "page_checksum_verification=False) as parquet:\n"
        "            for group in range(parquet.num_row_groups):\n                pages",
        "tests/test_landing.py::test_a_flipped_bit_in_the_pages_is_noticed",
    ),
    # --- normalize
    Bug(
        "take an empty time for a broken one",
        "pipelines/records.py",
        '    if text == "":\n        return None\n',
        "",
        "tests/test_records.py::test_an_empty_or_missing_time_is_null_in_every_field",
    ),
    Bug(
        "take every time for UTC, whatever its zone",
        "pipelines/records.py",
        "{zone or 'Z'}",
        "Z",
        "tests/test_records.py::test_a_time_in_a_known_shape_is_read_exactly_and_is_utc",
    ),
    Bug(
        "read the dependency flag in one of its spellings only",
        "pipelines/normalize.py",
        'both = pc.coalesce(table.column("has_dependent_backups"), table.column("has_dependent_backup"))',
        'both = table.column("has_dependent_backups")',
        "tests/test_records.py::test_the_dependency_flag_is_read_in_either_spelling",
    ),
    Bug(
        "reject the whole page for one bad record",
        "pipelines/records.py",
        "            bad.append({",
        "            good = []\n            bad.append({",
        "tests/test_records.py::test_one_bad_record_among_a_thousand_costs_one_record",
    ),
    Bug(
        "take true for the number one",
        "pipelines/records.py",
        "if not isinstance(value, int) or isinstance(value, bool):",
        "if not isinstance(value, int):",
        "tests/test_records.py::test_a_value_of_the_wrong_type_quarantines_its_record_and_no_other",
    ),
    Bug(
        "let the older of two copies of a backup win",
        "pipelines/normalize.py",
        'frame = frame.drop_duplicates("backup_id", keep="last")',
        'frame = frame.drop_duplicates("backup_id", keep="first")',
        "tests/test_normalize.py::test_of_a_backup_that_is_told_differently_the_newest_wins_in_whatever_order",
    ),
    # --- history
    Bug(
        "close what was not seen, evidence or not",
        "pipelines/history.py",
        "ended = open_versions.loc[absent & open_versions[key].isin(list(gone)), key]",
        "ended = open_versions.loc[absent, key]",
        "tests/test_history.py::test_every_line_of_the_table_in_the_docstring_holds",
    ),
    Bug(
        "leave the old version of a changed row open",
        "pipelines/history.py",
        "closed=pd.concat([observed.loc[changed, key], ended], ignore_index=True)",
        "closed=ended",
        "tests/test_history.py::test_every_line_of_the_table_in_the_docstring_holds",
    ),
    Bug(
        "close a share whose record could not be read",
        "pipelines/history.py",
        "absent = ~open_versions[key].isin(observed[key]) & ~open_versions[key].isin(shielded)",
        "absent = ~open_versions[key].isin(observed[key])",
        "tests/test_history.py::test_a_protected_key_is_neither_changed_nor_closed",
    ),
    # --- warehouse
    Bug(
        "end a version when the walk ended, not when it began",
        "pipelines/warehouse.py",
        "ending.values(valid_to=observation.observed_at,",
        "ending.values(valid_to=observation.finished_at,",
        "tests/test_histories.py::test_generated_histories_are_what_the_oracle_says_after_every_step",
    ),
    Bug(
        "record two observations of one instant",
        "pipelines/warehouse.py",
        "if recorded is None and last is not None and observation.observed_at <= last:",
        "if recorded is None and last is not None and observation.observed_at < last:",
        "tests/test_warehouse.py::test_an_observation_that_is_not_newer_than_the_last_of_its_listing_is_refused",
    ),
    Bug(
        "close fewer versions than was decided",
        "pipelines/warehouse.py",
        "    if done.rowcount != len(keys):",
        "    if done.rowcount > len(keys):",
        "tests/test_warehouse.py::test_a_version_that_is_gone_when_it_is_to_be_closed_is_told_and_nothing_is_recorded",
    ),
    Bug(
        "open a version of what stays open",
        "pipelines/warehouse.py",
        "    if len(twice):",
        "    if len(twice) > 1:",
        "tests/test_warehouse.py::test_an_observation_that_would_open_a_key_twice_is_refused",
    ),
    Bug(
        "record again what is recorded",
        "pipelines/warehouse.py",
        "            if _is_recorded(connection, observation, sha256):\n                return\n",
        "            _is_recorded(connection, observation, sha256)\n",
        "tests/test_warehouse.py::test_recording_the_same_observation_again_changes_nothing",
    ),
    Bug(
        "believe a landing file that is not the one that was recorded",
        "pipelines/warehouse.py",
        "if recorded is not None and recorded != sha256:",
        "if False:",
        "tests/test_warehouse.py::test_the_same_observation_from_another_file_is_refused",
    ),
    Bug(
        "close the rows of other listings too",
        "pipelines/warehouse.py",
        "        is_open = _of_listing(table, observation.listing) & (table.c.valid_to == OPEN_END)\n",
        "        is_open = table.c.valid_to == OPEN_END\n",
        "tests/test_histories.py::test_generated_histories_are_what_the_oracle_says_after_every_step",
    ),
    Bug(
        "publish what is not proven",
        "pipelines/warehouse.py",
        "            if observation.status.is_proven:\n",
        "            if observation.status:\n",
        "tests/test_warehouse.py::test_an_unproven_observation_leaves_its_ledger_row_and_nothing_else",
    ),
    Bug(
        "write the ledger in a transaction of its own",
        "pipelines/warehouse.py",
        "            connection.execute(insert(observations).values(row))\n\n        self._transact(work)\n",
        "            rows.append(row)\n\n"
        "        rows: list[dict[str, Any]] = []\n        self._transact(work)\n        for row in rows[-1:]:\n"
        "            self._transact(lambda connection: connection.execute(insert(observations).values(row)))\n",
        "tests/test_postgres_faults.py::test_a_line_cut_at_any_message_leaves_the_state_before_or_after",
    ),
    Bug(
        "close although a record without readable id was met",
        "pipelines/warehouse.py",
        'return observation.may_close and not normalized.rejected["share_id"].isna().any()',
        "return observation.may_close",
        "tests/test_warehouse.py::test_what_may_be_behind_an_unreadable_record_stays_open",
    ),
    # --- loading
    Bug(
        "load the later observations of a listing whose earlier one is stuck",
        "pipelines/load.py",
        "            stuck.add(file.listing)\n",
        "",
        "tests/test_load.py::test_a_damaged_file_blocks_its_own_listing_only_and_is_named",
    ),
    Bug(
        "read what differs from a file that is not the recorded one",
        "pipelines/load.py",
        "if sha256(before) != proven.landing_sha256 or observation.excluded_ids or earlier.excluded_ids:",
        "if observation.excluded_ids or earlier.excluded_ids:",
        "tests/test_load.py::test_without_the_pages_before_an_observation_is_read_whole",
    ),
    # --- publishing a DuckDB file
    Bug(
        "copy over the published file instead of renaming",
        "pipelines/duckdb_file.py",
        "aside.replace(published)",
        "shutil.copyfile(aside, published)",
        "tests/test_publish.py::test_the_new_file_is_flushed_before_it_takes_its_place_and_the_folder_after",
    ),
    Bug(
        "write without waiting for the writer that is at it",
        "pipelines/duckdb_file.py",
        "while not _try_lock(lock):",
        "while False:",
        "tests/test_publish.py::test_a_second_writer_waits_for_the_first",
    ),
    Bug(
        "publish a copy whose log was not folded in",
        "pipelines/duckdb_file.py",
        "if _log_of(aside).exists():",
        "if False:",
        "tests/test_publish.py::test_nothing_is_published_that_is_still_in_the_log",
    ),
    Bug(
        "publish a copy that was not flushed to the disk",
        "pipelines/duckdb_file.py",
        "        os.fsync(file.fileno())\n",
        "        pass\n",
        "tests/test_publish.py::test_the_new_file_is_flushed_before_it_takes_its_place_and_the_folder_after",
    ),
    Bug(
        "move the published file aside before the new one is there",
        "pipelines/duckdb_file.py",
        "os.link(published, kept)",
        "published.rename(kept)",
        "tests/test_publish.py::test_a_sync_killed_while_it_published_costs_no_previous_file",
    ),
    Bug(
        "keep no state from before",
        "pipelines/duckdb_file.py",
        "kept.replace(previous_file(published))",
        "pass",
        "tests/test_publish.py::test_what_was_published_before_is_kept_and_can_be_read",
    ),
    # --- PostgreSQL
    Bug(
        "record without the lock of the listing",
        "pipelines/engines.py",
        "connection.execute(select(func.pg_advisory_xact_lock(_lock_key(name))))",
        "pass",
        "tests/test_postgres_faults.py::test_two_processes_that_load_the_same_at_once_record_everything_once",
    ),
    Bug(
        "record while somebody rebuilds",
        "pipelines/engines.py",
        "connection.execute(select(func.pg_advisory_xact_lock_shared(_lock_key(MAINTENANCE))))",
        "pass",
        "tests/test_rebuild.py::test_while_an_observation_is_being_recorded_on_a_server_a_rebuild_waits_and_says_for_what",
    ),
    Bug(
        "begin a transaction anew without looking whether it was committed",
        "pipelines/warehouse.py",
        "    return recorded is not None\n",
        "    return False\n",
        "tests/test_postgres_faults.py::test_a_commit_of_which_nobody_heard_is_looked_up_and_recorded_once",
    ),
    Bug(
        "give up at the first deadlock",
        "pipelines/engines.py",
        '_PASSING_STATES = ("08", "40", "53", "57", "58")',
        '_PASSING_STATES = ("08", "53", "57", "58")',
        "tests/test_postgres_faults.py::test_what_will_pass_is_tried_three_times_and_then_given_up_whole",
    ),
    # --- rebuild and retention
    Bug(
        "compare all tables but the first",
        "pipelines/rebuild.py",
        "        for table in LANDED:\n            if found",
        "        for table in LANDED[1:]:\n            if found",
        "tests/test_rebuild.py::test_the_first_difference_is_told_by_row_and_column",
    ),
    Bug(
        "compare how many rows there are",
        "pipelines/rebuild.py",
        "if one.equals(other):",
        "if len(one) == len(other):",
        "tests/test_rebuild.py::test_the_first_difference_is_told_by_row_and_column",
    ),
    Bug(
        "publish a rebuild that lacks what could not be loaded",
        "pipelines/rebuild.py",
        "    if unloaded:\n",
        "    if len(unloaded) > 1:\n",
        "tests/test_rebuild.py::test_a_damaged_page_is_named_and_nothing_is_published",
    ),
    Bug(
        "prune the file that the next sync compares with",
        "pipelines/retention.py",
        "going = [file for file in old if file.name not in last_proven]",
        "going = old",
        "tests/test_retention.py::test_what_is_old_goes_but_the_last_proven_file_of_a_listing_stays",
    ),
    Bug(
        "prune what is not recorded yet",
        "pipelines/retention.py",
        "            _refuse_unrecorded(old, ledger)\n",
        "",
        "tests/test_retention.py::test_a_prune_is_refused_while_an_observation_is_not_recorded",
    ),
    Bug(
        "prune a day too many",
        "pipelines/retention.py",
        "timedelta(days=keep_days), time(), UTC)",
        "timedelta(days=keep_days - 1), time(), UTC)",
        "tests/test_retention.py::test_the_horizon_is_a_midnight_in_utc",
    ),
    Bug(
        "remove the pages before they are frozen",
        "pipelines/retention.py",
        "            if facts is not None:\n                frozen",
        "            _remove(landing, going)\n            if facts is not None:\n                frozen",
        "tests/test_retention.py::test_a_prune_that_is_killed_between_any_two_file_operations_loses_nothing",
    ),
    # --- evidence
    Bug(
        "let very many withdrawals pass unseen",
        "pipelines/confirm.py",
        "if len(absent) > max(HELD_ABOVE, HELD_SHARE * len(known)) and not release_held:",
        "if len(absent) > HELD_ABOVE + HELD_SHARE * len(known) and not release_held:",
        "tests/test_confirm.py::test_more_than_twenty_and_a_fifth_at_once_wait_for_a_person",
    ),
    Bug(
        "believe the filter without trying it",
        "pipelines/confirm.py",
        "if proof.ids and (complaint := _complaint_about_filter(present, ask)):",
        'if complaint := "":',
        "tests/test_confirm.py::test_a_filter_that_does_not_work_is_no_evidence",
    ),
    Bug(
        "take no answer for gone",
        "pipelines/confirm.py",
        "if answer is None or is_strange or not companions[backup_id] <= told:",
        "if is_strange or not companions[backup_id] <= told:",
        "tests/test_confirm.py::test_no_answer_is_no_evidence",
    ),
    # --- views
    Bug(
        "show an unproven day in the snapshots",
        "sql/views/backup_share_snapshots.sql",
        "    where is_proven\n",
        "",
        "tests/test_demo.py::test_the_snapshot_of_every_day_holds_the_shares_that_truly_existed",
    ),
    Bug(
        "carry a version into the day on which it ended",
        "sql/views/backup_share_snapshots.sql",
        "and d.observed_at < h.valid_to",
        "and d.observed_at <= h.valid_to",
        "tests/test_demo.py::test_the_snapshot_of_every_day_holds_the_shares_that_truly_existed",
    ),
    Bug(
        "let a walk that proves no absence bound when a share appeared",
        "sql/views/backup_share_versions.sql",
        "o.is_proven and o.may_close as proves_absence",
        "o.is_proven as proves_absence",
        "tests/test_sql_bounds.py::test_a_walk_that_proves_no_absence_does_not_say_that_a_share_was_not_there",
    ),
    Bug(
        "let the receiver tell a share that its giver tells too",
        "sql/views/backup_shares.sql",
        "(order by region, direction desc, project_id) as listing_rank",
        "(order by region, direction, project_id) as listing_rank",
        "tests/test_sql.py::test_a_share_seen_from_both_sides_is_one_row_told_by_its_giver",
    ),
    Bug(
        "call a day proven only if all of its walks are",
        "sql/views/listing_coverage.sql",
        "bool_or(is_proven) as is_proven",
        "bool_and(is_proven) as is_proven",
        "tests/test_sql_bounds.py::test_every_day_of_a_listing_is_proven_partial_failed_or_not_observed",
    ),
    # --- what people see
    Bug(
        "forget the full-width signs that begin a formula",
        "pipelines/output.py",
        '"\\n", "＝", "＋", "－", "＠")',
        '"\\n")',
        "tests/test_cli.py::test_csv_holds_no_formula_and_loses_nothing_else",
    ),
    Bug(
        "print names of strangers as they are",
        "pipelines/output.py",
        "rows = [[printable(as_text(value)) for value in row]",
        "rows = [[as_text(value) for value in row]",
        "tests/test_cli.py::test_hostile_names_do_not_steer_the_terminal",
    ),
    Bug(
        "let the marks through that turn text around",
        "pipelines/errors.py",
        '_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}',
        '_HIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}',
        "tests/test_client.py::test_the_text_of_a_stranger_is_escaped_and_cut",
    ),
    Bug(
        "repeat an address with a password in the error",
        "pipelines/publish.py",
        'raise ConfigurationError(f"WAREHOUSE_URL is not a URL: {EXPECTED}") from None',
        'raise ConfigurationError(f"WAREHOUSE_URL {address} is not a URL: {EXPECTED}") from None',
        "tests/test_publish.py::test_an_address_of_another_kind_is_refused_without_repeating_it",
    ),
    Bug(
        "exit 0 although a listing is not proven",
        "pipelines/cli/syncing.py",
        "            click.echo(failure, err=True)\n        sys.exit(SOME_NOT_PROVEN)",
        "            click.echo(failure, err=True)",
        "tests/test_cli.py::test_a_sync_with_a_failing_listing_exits_1_and_says_which_and_what_to_do",
    ),
    Bug(
        "exit 1 for a setting that is wrong",
        "pipelines/cli/frame.py",
        "sys.exit(UNUSABLE)",
        "sys.exit(SOME_NOT_PROVEN)",
        "tests/test_cli.py::test_bad_configuration_is_one_sentence_exit_code_2_and_nothing_done",
    ),
    Bug(
        "exit 0 although the warehouse is not what the landing says",
        "pipelines/cli/keeping.py",
        "        click.echo(str(difference), err=True)\n        sys.exit(SOME_NOT_PROVEN)\n",
        "        click.echo(str(difference), err=True)\n        return\n",
        "tests/test_rebuild.py::test_the_commands_make_compare_and_make_again",
    ),
    Bug(
        "run the schedule in the zone of an office",
        "pipelines/definitions.py",
        'execution_timezone="UTC"',
        'execution_timezone="Europe/Berlin"',
        "tests/test_definitions.py::test_the_schedule_is_daily_in_utc_at_the_configured_hour_and_on",
    ),
]
