# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, in words and exit statuses: no daemon, a bad model, bad usage, unreadable input,
output that cannot be written. And the verbs that need no stream.
"""
import json
import os
import re
import shutil
import subprocess

import programs  # first: it finds the tools
import nemo_file
import tap
from programs import DAEMON, TINY2, Daemon, DaemonFailed, run_daemon, run_filter

PROTEINS = programs.read_fasta(programs.PROTEINS)
FASTA = programs.write_fasta(PROTEINS[:3])


def one_line(text, program, *words):
    """The message is one line, begins with the program, and holds these words."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith(program + ": "), text
    for word in words:
        assert word in lines[0], "no %r in %r" % (word, lines[0])


@tap.case("no daemon: 69, and what to do")
def no_daemon():
    ways = [{"ESM1NV_SOCKET": programs.in_work("nobody")}]
    if not os.path.exists("/run/esm1nv/socket"):
        ways.append({})
    for variables in ways:
        run = run_filter(None, "--no-autostart", "--wait", "0", input=FASTA, expect=69,
                         env=programs.environment(**variables))
        assert run.stdout == b"" and run.stderr.startswith("esm1nv: "), run.stderr
        assert "esm1nvd" in run.stderr, run.stderr
    run = run_filter(programs.in_work("nobody"), input=FASTA, expect=69)
    assert "nobody" in run.stderr, run.stderr


@tap.case("the socket is found by --socket, $ESM1NV_SOCKET and $XDG_RUNTIME_DIR, in this order")
def finding():
    with Daemon() as daemon:
        run_filter(None, input=FASTA, env=programs.environment(ESM1NV_SOCKET=daemon.socket))
        run_filter(daemon, input=FASTA, env=programs.environment(ESM1NV_SOCKET="/nonexistent"))
        run_filter("/nonexistent", input=FASTA, expect=69,
                   env=programs.environment(ESM1NV_SOCKET=daemon.socket))
        os.makedirs(programs.in_work("run/esm1nv"))
        os.symlink(daemon.socket, programs.in_work("run/esm1nv/socket"))
        run_filter(None, input=FASTA,
                   env=programs.environment(XDG_RUNTIME_DIR=programs.in_work("run")))


def bad_models():
    config, tensors, _ = nemo_file.read_nemo(TINY2)
    good = programs.read_file(TINY2)

    def write(name, *arguments, **keywords):
        path = programs.in_work(name)
        nemo_file.write_nemo(path, *arguments, **keywords)
        return path

    missing = "language_model.encoder.layers.1.mlp.dense_4h_to_h.bias"
    fewer = {name: values for name, values in tensors.items() if name != missing}
    shape = {**tensors, missing: tensors[missing][:-1]}
    hostile = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."
    yield programs.in_work("absent.nemo"), ["absent.nemo"]
    for name, data in (("empty.nemo", b""), ("text.nemo", b"this is no model\n" * 100),
                       ("cut.nemo", good[:len(good) // 2])):
        yield programs.write_file(name, data), [name]
    yield write("missing.nemo", config, fewer), ["missing.nemo", missing]
    yield write("shape.nemo", config, shape), ["shape.nemo", missing]
    yield write("hostile.nemo", config, {}, checkpoint=nemo_file.zip_checkpoint(hostile, [])), [
        "hostile.nemo", "system"]
    yield write("other.nemo", {**config, "normalization": "rmsnorm"}, tensors), [
        "other.nemo", "normalization", "rmsnorm"]
    yield write("token.nemo", config, tensors, tokenizer=b"\xff\xff"), ["token.nemo"]


@tap.case("a bad model: 78 and one line that names file, member and reason")
def bad_model():
    for path, words in bad_models():
        try:
            with Daemon(model=path):
                pass
        except DaemonFailed as failed:
            assert failed.status == 78, (path, failed)
            one_line(failed.text, "esm1nvd", *words)
            programs.check_stderr(failed.text)
        else:
            raise AssertionError("esm1nvd serves " + path)


@tap.case("no model: 78 and what to do")
def no_model():
    run = run_daemon("--socket", programs.in_work("s"))
    assert run.returncode == 78, run
    one_line(run.stderr, "esm1nvd", "--model", "ESM1NV_MODEL")


def check_model(*arguments):
    run = run_daemon("--check", *arguments)
    assert run.returncode == 0, run
    return dict(line.split(": ", 1) for line in run.stdout.splitlines())


@tap.case("--check of the real shape counts 43612544 parameters")
def check_real_shape():
    path = programs.in_work("full.nemo")
    config = nemo_file.real_config()
    nemo_file.write_nemo(path, config, nemo_file.esm1nv_tensors(config), dtype="f16")
    for model in (path, "synthetic"):
        facts = check_model("--model", model)
        assert facts["parameters"] == "43612544", facts
        assert any(re.fullmatch("[0-9a-f]{64}", fact) for fact in facts.values()), facts
    os.unlink(path)


@tap.case("--check and --status tell the same digest; --expect-model insists on it")
def digest():
    facts = check_model("--model", TINY2, "-b", "cpu", "-p", "f32")
    with Daemon("-b", "cpu", "-p", "f32") as daemon:
        status = json.loads(run_filter(daemon, "--status=json").stdout)
        assert status["digest"] == facts["model digest"], (status, facts)
        assert status["precision"] == "f32" and status["backend"] == "cpu"
        run_filter(daemon, "--expect-model", facts["model digest"][:12], input=FASTA)
        run = run_filter(daemon, "--expect-model", "0" * 12, input=FASTA, expect=78)
        assert run.stdout == b"" and run.stderr.startswith("esm1nv: "), run.stderr


@tap.case("--metrics is read by Prometheus's own parsers, and counts")
def metrics():
    try:
        from prometheus_client import openmetrics, parser
        import prometheus_client.openmetrics.parser
    except ImportError:
        raise tap.Skip("no python3-prometheus-client")
    model = programs.in_work('a "model" \\ of mine.nemo')
    shutil.copy(TINY2, model)
    with Daemon(model=model) as daemon:
        run_filter(daemon, input=programs.write_fasta([*PROTEINS[:3], ("bad", "MJT")]), expect=65)
        text = run_filter(daemon, "--metrics").stdout.decode()
        status = json.loads(run_filter(daemon, "--status=json").stdout)
    strict, older = ({sample.name: sample for family in read(text) for sample in family.samples}
                     for read in (openmetrics.parser.text_string_to_metric_families,
                                  parser.text_string_to_metric_families))
    assert strict.keys() == older.keys()
    residues = sum(min(len(body), 512) for _, body in PROTEINS[:3])
    values = {name: sample.value for name, sample in strict.items()}
    assert (values["esm1nv_records_total"], values["esm1nv_residues_total"]) == (3, residues), text
    assert values["esm1nv_sessions_total"] == status["clients_total"], text
    assert strict["esm1nv_pinned_bytes"].value == status["pinned_bytes"], text
    for name, value in strict["esm1nv_info"].labels.items():
        assert value == status[name], (name, value)
    assert strict["esm1nv_info"].labels["model"] == os.path.basename(model)
    assert "backend" in strict["esm1nv_info"].labels, text


@tap.case("synthetic weights: both programs say that there is no biology in them")
def synthetic():
    with Daemon(model="synthetic") as daemon:
        run = run_filter(daemon, input=FASTA)
        assert "biology" in run.stderr and "biology" in daemon.said()
    with Daemon() as daemon:
        assert run_filter(daemon, input=FASTA).stderr == ""


@tap.case("--dry-run counts without a daemon, and foresees the bytes of binary output")
def dry_run():
    run = run_filter(None, "--dry-run", "-f", "raw", programs.PROTEINS)
    residues = sum(len(body) for _, body in PROTEINS)
    numbers = [int(number) for number in re.findall(r"\d+", re.sub(r"(?<=\d),(?=\d)", "",
                                                                   run.stdout.decode()))]
    for number in (len(PROTEINS), residues, 2, len(PROTEINS) * 768 * 4):
        assert number in numbers, (number, run.stdout)
    with Daemon("-b", "null", model="synthetic") as daemon:
        run = run_filter(daemon, "-f", "raw", programs.PROTEINS)
        assert len(run.stdout) == len(PROTEINS) * 768 * 4


@tap.case("usage errors: 64, naming what is wrong")
def usage():
    for arguments, word in ((["--no-such-option"], "no-such-option"), (["-p", "median"], "median"),
                            (["-f", "csv"], "csv"), (["--invalid", "skip"], "skip"),
                            (["--long", "cut"], "cut"), (["-i", "genbank"], "genbank"),
                            (["--dtype", "f64"], "f64"), (["--id", "last"], "last")):
        run = run_filter(None, *arguments, expect=64)
        assert run.stdout == b"" and word in run.stderr, run.stderr
    for arguments, word in ((["--precision", "f8"], "f8"), (["--threads", "many"], "many"),
                            (["--no-such-option"], "no-such-option"), (["-b", "tpu"], "tpu")):
        run = run_daemon(*arguments)
        assert run.returncode == 64 and word in run.stderr, run


@tap.case("input that cannot be read: 66, and nothing is written")
def unreadable():
    good = programs.write_file("good.fasta", FASTA)
    with Daemon() as daemon:
        run = run_filter(daemon, good, programs.in_work("absent.fasta"), expect=66)
        assert run.stdout == b"" and "absent.fasta" in run.stderr, run.stderr
        run_filter(daemon, programs.work_folder(), expect=66)


@tap.case("output that cannot be created or written: 73, 74")
def unwritable():
    with Daemon() as daemon:
        run = run_filter(daemon, "-o", programs.in_work("no/such/out"), input=FASTA, expect=73)
        assert "no/such/out" in run.stderr, run.stderr
        run = run_filter(daemon, "-o", "/dev/full", input=FASTA, expect=74)
        assert "/dev/full" in run.stderr, run.stderr
        with open("/dev/full", "wb") as full:
            run_filter(daemon, input=FASTA, stdout=full, expect=74)


@tap.case("no records: no output, 0")
def nothing():
    with Daemon() as daemon:
        for data in (b"", b"\n \n"):
            run = run_filter(daemon, "-i", "fasta", input=data)
            assert run.stdout == b"" and run.stderr == "", run.stderr


@tap.case("--version and --help")
def version():
    for program, name in ((programs.FILTER, "esm1nv"), (DAEMON, "esm1nvd")):
        run = subprocess.run([program, "--version"], capture_output=True, text=True,
                             timeout=programs.PATIENCE)
        assert run.returncode == 0 and re.fullmatch(name + r" \d+\.\d+\.\d+\n", run.stdout), run
        run = subprocess.run([program, "--help"], capture_output=True, text=True,
                             timeout=programs.PATIENCE)
        assert run.returncode == 0 and "--socket" in run.stdout and run.stderr == "", run


tap.main(programs.finish)
