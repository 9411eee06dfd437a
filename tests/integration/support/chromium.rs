//! Chromium, from its Debian package, to look at pages.

use std::fs;
use std::process::Command;

use super::workplace::Workplace;

/// Whether Chromium is not installed, so that a test has to be skipped.
///
/// # Panics
/// When it is missing although no test is to be skipped, as in continuous integration.
pub(crate) fn is_missing() -> bool {
    let is_missing = Command::new("chromium").arg("--version").output().is_err();
    if is_missing {
        let note = "Chromium is not installed (apt-get install chromium)";
        assert!(std::env::var_os(COMPLETE).is_none(), "{note}, but {COMPLETE} is set");
        eprintln!("skipped: {note}");
    }
    is_missing
}

/// The variable that, when set, makes a test fail that would be skipped for lack of a program.
const COMPLETE: &str = "POSTGRES_ETL_TEST_COMPLETE";

/// What Chromium makes of the page `html` in a window of `width` CSS pixels: the JSON value of `expression`, a
/// JavaScript expression, after the page was loaded.
///
/// The script is added to a copy of the page, from which the policy that forbids scripts is taken away. A headless
/// window is at least 500 pixels wide; so the page is in a frame of the wanted width.
pub(crate) fn evaluate(workplace: &Workplace, html: &str, width: u32, expression: &str) -> serde_json::Value {
    let (before, rest) = html.split_once("<meta http-equiv").expect("the page has a policy");
    let rest = rest.split_once("/>").expect("its tag ends").1;
    let inner = format!("{before}{rest}");
    let document = serde_json::to_string(&inner).unwrap().replace('<', "\\u003c");
    let outer = format!(
        "<!DOCTYPE html><meta charset=utf-8><body><iframe style='width:{width}px;height:900px;border:0'></iframe>
         <pre id=answer></pre><script>
         const source = {document}, errors = [], frame = document.querySelector('iframe');
         frame.onload = () => {{
             const view = frame.contentWindow, page = frame.contentDocument;
             let answer;
             try {{ answer = {expression}; }} catch (error) {{ answer = 'failed: ' + error; }}
             document.querySelector('#answer').textContent = '[' + '{BEGIN}' + JSON.stringify(answer) + '{END}' + ']';
         }};
         frame.srcdoc = source;
         </script>"
    );
    let path = workplace.write("browser/page.html", outer);
    let output = headless(workplace)
        .args(["--dump-dom", "--virtual-time-budget=10000"])
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let answer = dom
        .split_once(&format!("[{BEGIN}"))
        .and_then(|(_, rest)| rest.split_once(&format!("{END}]")))
        .map(|(answer, _)| answer);
    let Some(answer) = answer else {
        panic!("no answer: {dom:.2000} {}", String::from_utf8_lossy(&output.stderr))
    };
    let answer = answer.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// What Chromium has to say on its console of the file `name`, line by line.
pub(crate) fn console(workplace: &Workplace, name: &str) -> Vec<String> {
    let output = headless(workplace)
        .args(["--dump-dom", "--enable-logging=stderr"])
        .arg(format!("file://{}", workplace.path(name).display()))
        .output()
        .unwrap();
    assert!(output.stdout.ends_with(b"</html>\n"), "{}", String::from_utf8_lossy(&output.stderr));
    let log = String::from_utf8_lossy(&output.stderr);
    log.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect()
}

/// Chromium without a window, with a profile of its own.
fn headless(workplace: &Workplace) -> Command {
    let profile = workplace.path("browser/profile");
    fs::create_dir_all(&profile).unwrap();
    let mut command = Command::new("chromium");
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
    ]);
    command.arg("--window-size=1400,1000").arg(format!("--user-data-dir={}", profile.display()));
    command
}

/// What the answer stands between, each in brackets that the script itself does not have around it.
const BEGIN: &str = "answer:";

const END: &str = ":answer";
