def test_labels_of_times_are_values_of_the_column():
    times = pd.Series(pd.to_datetime(["2024-01-01 12:00", "2024-07-01 12:00"] * 10)).dt.tz_localize("Europe/Berlin")
    waits = pd.Series(pd.to_timedelta(["1h", "2h"] * 10))
    schema = TableSchema.infer(pd.DataFrame({"when": times, "wait": waits, "day": times.dt.date}))
    when, wait, day = (column.labels for column in schema.columns)
    assert when == ("a number", times[0], times[1], "unseen")
    assert [label.tz for label in when[1:3]] == [times[0].tz] * 2
    assert wait == ("a number", waits[0], waits[1], "unseen")
    assert day == ("a number", pd.Timestamp("2024-01-01"), pd.Timestamp("2024-07-01"), "unseen")
