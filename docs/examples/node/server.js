// wpm start docs/examples/node
// curl http://localhost:3000/

const http = require('http');

const port = Number(process.env.PORT || 3000);

const server = http.createServer((request, response) => {
  console.log(`${request.method} ${request.url}`);
  response.end(`instance ${process.env.WPM_INSTANCE}, pid ${process.pid}\n`);
});

server.listen(port, () => console.log(`listening on port ${port}`));

// wpm stops an app with SIGINT: finish what is being answered, take nothing new.
process.on('SIGINT', () => server.close(() => process.exit(0)));
