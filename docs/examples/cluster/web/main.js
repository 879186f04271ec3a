// A web application and an API server of weroll: all instances share their ports.
// wpm start web/main.js -i max
const App = require('weroll/App');

const app = new App();
const Setting = global.SETTING;

app.addTask((done) => {
  require('weroll/model/Model').init(Setting.model, done);
});

app.addTask((done) => {
  require('weroll/web/WebApp').start(Setting, () => {
    require('weroll/eco/Ecosystem').init();
    done();
  });
});

app.run();
