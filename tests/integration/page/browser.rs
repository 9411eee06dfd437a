//! Pages as a browser shows them: on a desktop and on a phone, light and dark.

use serde_json::Value;

use super::files::BENCH;
use crate::support::chromium;
use crate::support::workplace::Workplace;

/// What is looked at: what is there, what overflows, what is cut off, and which text is too faint. Colours are mixed as
/// they are painted: the backgrounds of all ancestors, and cells of the map below their text.
const LOOK: &str = r"(() => {
    const shown = element => element.getClientRects().length > 0;
    const all = selector => [...page.querySelectorAll(selector)];
    all('details').forEach(details => details.open = true);
    const numbers = color => {
        const found = color.match(/[\d.]+/g).map(Number);
        return found.length > 3 ? found : [...found, 1];
    };
    const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
    const luminance = color => {
        const [r, g, b] = color.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (a, b) => {
        const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (light + 0.05) / (dark + 0.05);
    };
    const background = element => {
        const colors = [];
        for (let at = element; at; at = at.parentElement) {
            colors.push(numbers(view.getComputedStyle(at).backgroundColor));
        }
        return colors.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
    };
    const center = box => [box.left + box.width / 2, box.top + box.height / 2];
    const behind = text => {
        let color = background(text);
        const [x, y] = center(text.getBoundingClientRect());
        for (const rect of text.ownerSVGElement.querySelectorAll('rect')) {
            const style = view.getComputedStyle(rect), box = rect.getBoundingClientRect();
            if (rect.compareDocumentPosition(text) & 4 && style.fill !== 'none'
                && x > box.left && x < box.right && y > box.top && y < box.bottom) {
                const fill = numbers(style.fill);
                color = over([...fill.slice(0, 3), fill[3] * Number(style.fillOpacity)], color);
            }
        }
        return color;
    };
    const texts = all('h1, h2, h3, p, dt, dd, summary, caption, th, td, footer').filter(shown)
        .map(element => [element, numbers(view.getComputedStyle(element).color), background(element)]);
    const drawn = all('svg text').filter(shown)
        .map(element => [element, numbers(view.getComputedStyle(element).fill), behind(element)]);
    const faint = [...texts, ...drawn].filter(([, color, below]) => contrast(over(color, below), below) < 4.5)
        .map(([element, color, below]) => element.textContent + ' ' + color + ' on ' + below);
    const marks = all('.fill, .line').filter(shown).filter(element => {
        const style = view.getComputedStyle(element);
        const color = numbers(element.classList.contains('line') ? style.stroke : style.fill);
        const below = background(element);
        return contrast(over(color, below), below) < 3;
    }).map(element => element.outerHTML);
    const outside = all('svg text').filter(shown).filter(text => {
        const box = text.getBoundingClientRect(), svg = text.ownerSVGElement.getBoundingClientRect();
        return box.left < svg.left - 1 || box.right > svg.right + 1 || box.bottom > svg.bottom + 1;
    }).map(text => text.textContent);
    const meeting = all('svg').filter(shown).flatMap(svg => {
        const boxes = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
        return boxes.flatMap(([text, a], index) => boxes.slice(index + 1)
            .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
                && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
            .map(([other]) => text + ' meets ' + other));
    });
    const figures = all('figure');
    return {
        xml: new DOMParser().parseFromString(source, 'application/xml').querySelector('parsererror')?.textContent ?? null,
        paper: view.getComputedStyle(page.body).backgroundColor,
        figures: figures.length,
        complete: figures.filter(figure => [...figure.querySelectorAll('svg')].filter(shown).length === 1
            && figure.querySelector('table tbody tr') && figure.querySelector('.verdict').textContent.length > 10
            && figure.querySelector('svg title').textContent && figure.querySelector('svg desc').textContent).length,
        empty: all('table').filter(table => !table.querySelector('tbody tr') || !table.querySelector('th')).length,
        overflow: page.documentElement.scrollWidth - view.innerWidth,
        scripts: all('script, link, img, iframe, object, embed').length,
        requests: view.performance.getEntriesByType('resource').map(entry => entry.name),
        faint, marks, outside, meeting,
    };
})()";

/// Where the page is shown: the width of the window, and whether it is dark.
fn look(workplace: &Workplace, html: &str, width: u32, is_dark: bool) -> Value {
    let scheme = if is_dark { "all" } else { "not all" };
    let html = html.replace("(prefers-color-scheme: dark)", scheme);
    chromium::evaluate(workplace, &html, width, LOOK)
}

fn check(workplace: &Workplace, html: &str, figures: usize) {
    for (width, is_dark) in [(1200, false), (1200, true), (390, false), (390, true)] {
        let seen = look(workplace, html, width, is_dark);
        let place = format!("{width} px, dark: {is_dark}: {seen:#}");
        assert_eq!(seen["xml"], Value::Null, "{place}");
        assert_eq!(seen["paper"], if is_dark { "rgb(20, 23, 27)" } else { "rgb(255, 255, 255)" }, "{place}");
        assert_eq!((&seen["figures"], &seen["complete"]), (&figures.into(), &figures.into()), "{place}");
        assert!(seen["overflow"].as_i64().unwrap() <= 0, "scrolls sideways: {place}");
        assert_eq!((&seen["scripts"], &seen["empty"]), (&0.into(), &0.into()), "{place}");
        for problem in ["requests", "faint", "marks", "outside", "meeting"] {
            assert_eq!(seen[problem], serde_json::json!([]), "{problem}: {place}");
        }
    }
}

#[test]
fn a_comparison_is_legible_everywhere() {
    if chromium::is_missing() {
        return;
    }
    let workplace = Workplace::without_database();
    workplace.write("bench.json", BENCH);
    workplace.succeed(&["report", "bench.json", "--html", "page.html"]);
    check(&workplace, &workplace.read("page.html"), 8);
    assert_eq!(chromium::console(&workplace, "page.html"), Vec::<String>::new());
    // A script in a page would not run, and a picture would not be asked for.
    let policy = workplace.read("page.html").replace(
        "<main>",
        "<main><script>document.body.textContent = ''</script><img src='http://127.0.0.1:1/x.png'/>",
    );
    workplace.write("forbidden.html", policy);
    let console = chromium::console(&workplace, "forbidden.html");
    assert_eq!(
        console.iter().filter(|line| line.contains("Content Security Policy")).count(),
        2,
        "{console:#?}"
    );
}

/// Many contenders, of which some end early, a limit far beyond the others, and response times of many settings.
#[test]
fn kept_comparisons_are_legible_everywhere() {
    if chromium::is_missing() {
        return;
    }
    let workplace = Workplace::without_database();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/*.json.gz");
    workplace.succeed(&["report", kept, "--html", "page.html"]);
    let page = workplace.read("page.html");
    check(&workplace, &page, page.matches("<figure ").count());
}

/// Real reports, several of them together, with long names.
#[tokio::test]
async fn real_reports_are_legible_everywhere() {
    if chromium::is_missing() {
        return;
    }
    let table = "a_table_with_a_name_as_long_as_postgresql_allows_which_is_63_by";
    let workplace = Workplace::with_sql(&format!("CREATE TABLE {table} (id int PRIMARY KEY)")).await;
    let mut files = Vec::new();
    for (name, rows) in [("small.csv", 100), ("a-file-with-quite-a-long-name-as-exports-have-them.csv", 3000)]
    {
        let ids: Vec<String> = (1..=rows).map(|id: i32| id.to_string()).collect();
        workplace.write(name, format!("id\n{}\n", ids.join("\n")));
        for mode in ["copy", "batch", "rows"] {
            let receipt = format!("{name}-{mode}.json");
            workplace.succeed(&["load", name, "-t", table, "--truncate", "-m", mode, "--receipt", &receipt]);
            files.push(receipt);
        }
    }
    for name in ["before.json", "after.json"] {
        let query = ["query", "--sql", "SELECT 1", "--duration", "2100ms", "-c", "2", "-d", "4"];
        workplace.succeed(&[&query[..], &["--save", name]].concat());
        files.push(name.to_owned());
    }
    let search = ["query", "--sql", "SELECT 1", "--duration", "50ms", "--json"];
    let runs = [&search[..], &["--runs", "3", "--against-sql", "SELECT 2"]].concat();
    workplace.write("runs.json", workplace.succeed(&runs).stdout);
    files.push("runs.json".to_owned());
    let sweep =
        [&search[..], &["--sweep", "connections=1,2,4,8", "pipeline-depth=1,2,4,8,16,32,64"]].concat();
    workplace.write("sweep.json", workplace.succeed(&sweep).stdout);
    let ramp = [&search[..], &["--ramp", "1000:4000:1000"]].concat();
    workplace.write("ramp.json", workplace.succeed(&ramp).stdout);
    files.extend(["sweep.json".to_owned(), "ramp.json".to_owned()]);
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    workplace.succeed(&[&["report"], &files[..], &["--html", "page.html"]].concat());
    // Of all runs and loads, each load, two of each run, four of the runs in turn, two of the sweep and one of the ramp.
    check(&workplace, &workplace.read("page.html"), 1 + 2 + 6 + 4 + 4 + 2 + 1);
}
